"""Requests reach miners as the gateway routes them, and what is recorded of them is what auditors read."""

import random
from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import replace

import pytest

from bench.incentives.audits import STAND_IN_NOISE, Audits
from bench.incentives.books import Books, EpochBook, block_after
from bench.incentives.cheats import INT4
from bench.incentives.miners import Player, hotkey_address
from bench.incentives.network import Network, Served
from bench.incentives.population import Machine, is_long, timing
from bench.incentives.rounds import SECRET, calls
from bench.incentives.strategies import (
    HONEST_STRATEGY,
    REFUSE,
    RESET,
    STRATEGIES,
    Conduct,
    Strategy,
    always,
    cheating,
    on_share,
)
from bench.incentives.traffic import LONGEST_PROMPT, arrivals
from validator.audit_coverage import coverage
from validator.probe_rounds import ProbeRound
from validator.request_facts import RequestFacts
from validator.round_check import evidence_of, sound_rounds
from validator.scoring_config import ScoringConfig
from validator.verdicts import Verdict

CONFIG = ScoringConfig()
REQUESTS = arrivals(240, random.Random(3))
AUDITS = Audits(STAND_IN_NOISE)


def players(*strategies: Strategy) -> list[Player]:
    made = [Player(place, strategy) for place, strategy in enumerate(strategies)]
    for one in made:
        one.prepare(0, (), CONFIG)
    return made


def served(present: Sequence[Player], epoch: int = 0) -> list[Served]:
    return Network(present, random.Random(4)).serve(epoch, REQUESTS)[0]


def probed(*strategies: Strategy) -> tuple[list[Player], list[Served], list[ProbeRound]]:
    """Rounds alone, without any client."""
    present = players(*strategies)
    made, held = Network(present, random.Random(4)).serve(0, (), calls(0, CONFIG))
    return present, made, held


def speeds(made: Sequence[Served], among: Collection[str]) -> list[float]:
    """Output tokens a second of the answers that were given in these requests."""
    return [one.facts.output_tokens / one.facts.duration_ms for one in made if one.facts.request_id in among]


def books(*strategies: Strategy) -> EpochBook:
    present = players(*strategies)
    return Books(AUDITS, CONFIG).close(0, served(present), present)


def named(name: str) -> Strategy:
    return next(one for one in STRATEGIES if one.name == name)


def attempts_of(player: Player, made: Sequence[Served]) -> Counter[str]:
    return Counter(one.facts.outcome for one in made if one.facts.miner_hotkey in player.hotkeys)


def test_requests_are_spread_about_evenly_and_each_is_answered_once() -> None:
    present = players(*[HONEST_STRATEGY] * 4)
    made = served(present)
    assert len({one.facts.request_id for one in made}) == len(made) == len(REQUESTS)
    assert all(40 <= attempts_of(one, made)["answered"] <= 80 for one in present)


def test_attempts_at_one_request_are_seen_to_serve_it() -> None:
    made = served(players(Strategy("", 0, "", always(REFUSE)), HONEST_STRATEGY, HONEST_STRATEGY))
    answered = [one.facts.serves for one in made if one.facts.outcome == "answered"]
    refused = [one.facts.serves for one in made if one.facts.outcome == "refused"]
    assert len(set(answered)) == len(answered) == len(REQUESTS)
    assert refused
    assert set(refused) <= set(answered)


def test_facts_and_verdicts_are_valid_messages() -> None:
    page = books(named("reports-tenfold"), HONEST_STRATEGY, Strategy("", 0, "", on_share(0.3, RESET)))
    for facts in page.inputs.requests:
        assert RequestFacts.model_validate_json(facts.model_dump_json()) == facts
    for verdict in page.inputs.verdicts:
        assert Verdict.model_validate_json(verdict.model_dump_json()) == verdict


@pytest.mark.parametrize("name", ["honest", "int4", "int8-tenth", "silent-tenth", "resets-tenth"])
def test_exactly_those_answers_are_audited_that_followers_ask_for(name: str) -> None:
    page = books(named(name), HONEST_STRATEGY, HONEST_STRATEGY)
    found = coverage(page.inputs, CONFIG)
    assert (found.missing, found.surplus) == ((), ())


def test_an_audit_that_was_left_out_would_be_missed() -> None:
    page = books(HONEST_STRATEGY, HONEST_STRATEGY)
    inputs = page.inputs
    assert coverage(type(inputs)(**{**vars(inputs), "verdicts": inputs.verdicts[1:]}), CONFIG).missing


@pytest.mark.parametrize(("conduct", "outcome"), [(REFUSE, "refused"), (RESET, "failed")])
def test_what_one_miner_does_not_answer_another_does(conduct: Conduct, outcome: str) -> None:
    present = players(Strategy("", 0, "", always(conduct)), HONEST_STRATEGY, HONEST_STRATEGY)
    made = served(present)
    assert set(attempts_of(present[0], made)) == {outcome}
    assert sum(one.facts.outcome == "answered" for one in made) == len(REQUESTS)


def test_a_miner_that_resets_rests_and_one_that_refuses_does_not() -> None:
    counts = {}
    for conduct in (REFUSE, RESET):
        present = players(Strategy("", 0, "", always(conduct)), HONEST_STRATEGY, HONEST_STRATEGY)
        counts[conduct.outcome] = attempts_of(present[0], served(present)).total()
    assert counts["failed"] < counts["refused"]


def test_claims_in_receipts_leave_what_the_gateway_measures_as_it_was() -> None:
    honest, lying = served(players(HONEST_STRATEGY)), served(players(named("reports-tenfold")))
    for one, other in zip(honest, lying, strict=True):
        assert one.facts.duration_ms == other.facts.duration_ms
        assert one.facts.receipt != other.facts.receipt


def test_a_cheat_is_as_much_faster_as_its_table_says() -> None:
    machine, arrival = Machine(80.0, round_trip_ms=0.0), REQUESTS[0]
    honest, cheap = timing(machine, arrival), timing(machine, arrival, INT4.speed)
    assert honest.duration_ms == pytest.approx(cheap.duration_ms * INT4.speed)
    assert cheating(INT4).speed_up == INT4.speed


def test_a_machine_under_two_busy_uids_is_half_as_fast() -> None:
    alone, shared = served(players(HONEST_STRATEGY)), served(players(named("two-uids-busy")))
    idle = served(players(named("two-uids-idle")))
    for one, half, whole in zip(alone, shared, idle, strict=True):
        assert half.facts.duration_ms > 1.8 * one.facts.duration_ms * 0.99
        assert whole.facts.duration_ms == one.facts.duration_ms


def together_and_apart(player: Player, held: Sequence[ProbeRound]) -> tuple[set[str], set[str]]:
    """The requests of a player's first hotkey in half rounds with its second one, and without."""
    first, second = player.hotkeys
    found: tuple[set[str], set[str]] = (set(), set())
    for one in held:
        if one.full:
            continue
        asked = {member.hotkey: member.request_ids for member in one.asked}
        found[second not in asked].update(asked.get(first, ()))
    return found


@pytest.mark.parametrize(("name", "slower"), [("two-uids-idle", 0.8), ("two-uids-drop", 0.0)])
def test_one_machine_is_slower_in_rounds_that_ask_both_its_hotkeys(name: str, slower: float) -> None:
    present, made, held = probed(named(name), HONEST_STRATEGY, HONEST_STRATEGY)
    for order in (1, -1):
        present[0].known = present[0].known[::order]
        together, apart = (speeds(made, among) for among in together_and_apart(present[0], held))
        assert min(len(together), len(apart)) >= 2
        if sorted(together)[len(together) // 2] < slower * sorted(apart)[len(apart) // 2] or not any(
            together
        ):
            return
    raise AssertionError("neither hotkey is slower")


def test_rounds_of_the_simulation_are_sound_and_ask_each_miner_half_the_time() -> None:
    present, made, held = probed(*[HONEST_STRATEGY] * 4)
    evidence = evidence_of([one.facts for one in made], [call.block for call in calls(0, CONFIG)])
    assert sound_rounds(held, SECRET, evidence, CONFIG) == held
    assert 15 <= len(held) <= 35
    assert {one.requests_each for one in held} == {1, CONFIG.wide_round_requests}
    asked = Counter(member.hotkey for one in held for member in one.asked)
    assert all(0.2 < asked[one.hotkeys[0]] / len(held) < 0.8 for one in present)
    assert sum(len(member.request_ids) for one in held for member in one.asked) == len(made)


def test_the_requests_of_a_round_are_the_same_whatever_else_is_played() -> None:
    (call, *_) = calls(3, CONFIG)
    assert call.request(8, 0) == call.request(8, 0)
    assert call.request(8, 0) != call.request(9, 0) != call.request(8, 1)


def test_a_miner_that_rests_stays_a_member_without_requests() -> None:
    present, made, held = probed(Strategy("", 0, "", always(RESET)), HONEST_STRATEGY)
    own = [one.facts for one in made if one.facts.miner_hotkey in present[0].hotkeys]
    member_of = [m for one in held for m in one.asked if m.hotkey in present[0].hotkeys]
    assert {one.outcome for one in own} == {"failed"}
    assert any(not one.request_ids for one in member_of)


def test_traffic_has_short_and_long_prompts_within_bounds() -> None:
    assert 0.1 < sum(is_long(one) for one in REQUESTS) / len(REQUESTS) < 0.4
    assert all(1 <= one.prompt_tokens <= LONGEST_PROMPT for one in REQUESTS)
    assert [one.at_s for one in REQUESTS] == sorted(one.at_s for one in REQUESTS)


def test_an_answer_is_drawn_from_a_block_after_it() -> None:
    for one in served(players(HONEST_STRATEGY), epoch=3):
        block = block_after(one.facts.finished_at_ms)
        assert 0 < block.timestamp_ms - one.facts.finished_at_ms <= 12_000


def test_a_new_hotkey_has_no_past() -> None:
    player = Player(0, Strategy("", 0, "", reregister=lambda situation: situation.epochs >= 1))
    player.prepare(0, (), CONFIG)
    before = player.hotkeys
    player.prepare(1, (), CONFIG)
    assert player.registrations == 1
    assert player.hotkeys != before
    assert player.situations[player.hotkeys[0]].rate == 1.0
    assert hotkey_address("one") != hotkey_address("other")


@pytest.mark.parametrize("keys", [1, 5])
def test_a_flooders_requests_bear_its_keys_wherever_they_go(keys: int) -> None:
    flooder = next(one for one in STRATEGIES if one.name == "floods-30")
    present = players(replace(flooder, keys=keys), HONEST_STRATEGY)
    network = Network(present, random.Random(4))
    own = [one for one in REQUESTS if one.owner < 0.3]
    others = [one for one in REQUESTS if one.owner >= 0.3]
    names = {network._client(one) for one in own}
    assert len(names) == keys
    assert names.isdisjoint(network._client(one) for one in others)
    made = network.serve(0, own)[0]
    for hotkey in (present[0].hotkeys[0], present[1].hotkeys[0]):
        published = {
            one.facts.client
            for one in made
            if one.facts.miner_hotkey == hotkey and one.facts.outcome == "answered"
        }
        assert 0 < len(published) <= keys


def test_the_auditor_asks_under_many_names_and_clients_are_unequal() -> None:
    organic = Counter(one.client for one in REQUESTS if not one.synthetic)
    auditors = Counter(one.client for one in REQUESTS if one.synthetic)
    assert max(auditors.values()) < 8 < max(organic.values())
    assert organic.keys().isdisjoint(auditors)
