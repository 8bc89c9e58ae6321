"""Work while everybody is asked: a machine's is one machine's, under however many hotkeys."""

from collections.abc import Mapping, Sequence
from typing import Any

import pytest
from bittensor.sp_core import Keypair

from shared.records import RequestRecord
from tests.validator.auditor_examples import (
    ALSO_HONEST,
    CHEAT,
    HONEST,
    START_MS,
    example_record,
    many_records,
)
from tests.validator.round_examples import CONFIG
from validator.full_rounds import Spell, WorkDone, spells, work_done
from validator.probe_rounds import MOST_REQUESTS, ProbeRound, RoundRequests
from validator.request_facts import facts_of
from validator.round_times import UNKNOWN, AloneTimes, Times

BEGUN_MS = START_MS + 600_000
WINDOW_MS = CONFIG.full_round_ms
MINERS = (HONEST, ALSO_HONEST, CHEAT)
USUAL = [
    one
    for place, miner in enumerate(MINERS)
    for one in many_records(miner, place + 1, range(100 * place, 100 * place + 6))
]
"""Answers outside of rounds: all three miners take 1000 ms for each."""


class Asked:
    """The requests of one member, one after the other."""

    def __init__(self, miner: Keypair, first: int, begins_ms: int = 0) -> None:
        self.miner, self.uid, self.number = miner, MINERS.index(miner) + 1, first
        self.at_ms = BEGUN_MS + begins_ms
        self.records: list[RequestRecord] = []

    def then(self, duration_ms: int, outcome: Any = "answered", pause_ms: int = 0) -> "Asked":
        """One more request, which takes so long."""
        ends_ms = self.at_ms + duration_ms
        self.records.append(
            example_record(
                self.number + len(self.records),
                self.miner,
                self.uid,
                outcome,
                duration_ms=float(duration_ms),
                finished_at_ms=ends_ms,
            )
        )
        self.at_ms = ends_ms + pause_ms
        return self

    def on(self, duration_ms: int, pause_ms: int = 0) -> "Asked":
        """Answers of that duration until the round is over."""
        while self.at_ms < BEGUN_MS + WINDOW_MS:
            self.then(duration_ms, pause_ms=pause_ms)
        return self


def a_full_round(*asked: Asked, silent: Sequence[Keypair] = ()) -> ProbeRound:
    members = {one.miner.ss58_address: tuple(r.request_id for r in one.records) for one in asked}
    members |= {one.ss58_address: () for one in silent}
    return ProbeRound(
        block=7,
        block_hash="0x07",
        block_at_ms=BEGUN_MS,
        full=True,
        requests_each=1,
        miners=tuple(sorted(members)),
        asked=tuple(RoundRequests(hotkey=key, request_ids=names) for key, names in sorted(members.items())),
    )


def read(
    *asked: Asked,
    silent: Sequence[Keypair] = (),
    others: Sequence[RequestRecord] = USUAL,
    newest_ms: int = BEGUN_MS + 10 * WINDOW_MS,
) -> Mapping[str, Spell]:
    held = a_full_round(*asked, silent=silent)
    requests = [facts_of(one) for one in [*others, *(r for one in asked for r in one.records)]]
    alone = AloneTimes.outside(requests, [held], CONFIG)
    return spells(held, {one.key: one for one in requests}, alone, CONFIG, newest_ms)


def rate(*asked: Asked, failing: float = 0.0, **fields: Any) -> float:
    """Of the first of them."""
    found = read(*asked, **fields)
    return done(found, failing=failing)[asked[0].miner.ss58_address].rate


def done(
    *found: Mapping[str, Spell], before: Sequence[Mapping[str, Times]] = (), failing: float = 0.0
) -> Mapping[str, WorkDone]:
    alone = AloneTimes([facts_of(one) for one in USUAL])
    shares = {miner.ss58_address: failing for miner in MINERS}
    return {one.hotkey: one for one in work_done(found, before, shares, alone, CONFIG)}


def test_who_is_as_fast_as_ever_does_its_usual_work() -> None:
    assert rate(Asked(HONEST, 500).on(1000)) == pytest.approx(1.0)


@pytest.mark.parametrize("duration_ms", [700, 1100, 1700, 2500, 5000])
def test_work_is_proportional_to_speed(duration_ms: int) -> None:
    found = rate(Asked(HONEST, 500).on(duration_ms))
    assert found == pytest.approx(1000 / duration_ms, abs=1000 / WINDOW_MS)


def test_two_hotkeys_that_divide_a_machine_do_the_work_of_one() -> None:
    pair = [Asked(HONEST, 500).on(2000), Asked(ALSO_HONEST, 600).on(2000)]
    assert sum(spell.work_ms for spell in read(*pair).values()) <= WINDOW_MS * 1.01


def test_two_hotkeys_served_in_turn_do_the_work_of_one() -> None:
    """The first answer of the second waits for that of the first, all others for one another."""
    pair = [Asked(HONEST, 500).then(1000).on(2000), Asked(ALSO_HONEST, 600).on(2000)]
    assert sum(spell.work_ms for spell in read(*pair).values()) <= WINDOW_MS * 1.05


def test_the_second_of_a_queue_does_nothing_while_the_first_is_served() -> None:
    first, second, third = (
        Asked(HONEST, 500).on(1000),
        Asked(ALSO_HONEST, 600).then(WINDOW_MS + 1000),
        Asked(CHEAT, 700).then(WINDOW_MS + 2000),
    )
    found = read(first, second, third)
    assert found[HONEST.ss58_address].work_ms == pytest.approx(WINDOW_MS, rel=0.01)
    assert found[ALSO_HONEST.ss58_address].work_ms == 0
    assert found[CHEAT.ss58_address].work_ms == 0
    assert done(found)[CHEAT.ss58_address].rate == 0


def test_an_answer_under_way_at_the_end_counts_for_the_time_that_it_had() -> None:
    """2.3 answers of 10 s: the third one, as fast as the others, is a third of its time under way."""
    slow = [*many_records(HONEST, 1, range(6), duration_ms=10_000.0), *USUAL[6:]]
    assert rate(Asked(HONEST, 500).on(10_000), others=slow) == pytest.approx(0.1, rel=0.05)


def test_a_faster_past_makes_an_answer_under_way_count_for_less() -> None:
    assert rate(Asked(HONEST, 500).then(1000).then(2 * WINDOW_MS)) == pytest.approx(1000 / WINDOW_MS)


def test_pauses_after_answers_are_the_auditors() -> None:
    assert rate(Asked(HONEST, 500).on(1000, pause_ms=400)) == pytest.approx(1.0)


def test_a_failed_request_and_the_rest_after_it_are_time_without_work() -> None:
    asked = Asked(HONEST, 500)
    for _ in range(6):
        asked.then(1000).then(1000, "failed", pause_ms=2000)
    assert rate(asked) == pytest.approx(0.25)


def test_as_large_a_share_of_time_is_excused_as_other_requests_fail() -> None:
    asked = Asked(HONEST, 500).then(1000, "failed", pause_ms=2000).on(1000)
    assert rate(asked) == pytest.approx(21 / 24)
    assert rate(asked, failing=1 / 24) == pytest.approx(21 / 23)
    assert rate(asked, failing=1.0) == pytest.approx(1.0)


@pytest.mark.parametrize("failing", [0.0, 0.1, 0.3, 0.5])
def test_failing_elsewhere_buys_no_excuse_that_pays(failing: float) -> None:
    """Two hotkeys that are served in every second round, alternately: each counts in half of the time."""
    dropped = Asked(HONEST, 500)
    for rest_ms in (2000, 4000, 8000, 16_000):
        dropped.then(1000, "failed", pause_ms=rest_ms)
    both = done(read(dropped), read(Asked(HONEST, 600).on(1000)), failing=failing)
    assert 2 * both[HONEST.ss58_address].rate * (1 - failing) <= 1.0


def test_who_hangs_is_asked_until_the_end() -> None:
    """What it never answered has no record in the epoch, but its time has passed."""
    other = Asked(ALSO_HONEST, 600).on(1000)
    assert rate(Asked(HONEST, 500).then(1000), other) == pytest.approx(1000 / WINDOW_MS)
    found = read(other, silent=[HONEST])[HONEST.ss58_address]
    assert found == Spell(0.0, WINDOW_MS, 0)


def test_what_comes_after_the_epochs_end_is_nobodys_fault() -> None:
    cut_ms = BEGUN_MS + 10_000
    asked = Asked(HONEST, 500)
    for _ in range(10):
        asked.then(1000)
    assert rate(asked, newest_ms=cut_ms) == pytest.approx(1.0)


def test_who_could_only_be_asked_later_is_measured_from_then_on() -> None:
    asked = Asked(HONEST, 500, begins_ms=12_000)
    for _ in range(12):
        asked.then(1000)
    found = read(asked, Asked(ALSO_HONEST, 600).on(1000), newest_ms=BEGUN_MS + WINDOW_MS)
    assert found[HONEST.ss58_address].asked_ms == pytest.approx(12_000, abs=10)


def test_who_may_be_asked_no_more_has_no_open_end() -> None:
    asked = Asked(HONEST, 500)
    for _ in range(MOST_REQUESTS):
        asked.then(100)
    assert rate(asked) == pytest.approx(10.0)


@pytest.mark.parametrize("last", ["answered", "refused"])
def test_refusing_as_many_requests_as_there_may_be_is_no_way_out_of_a_round(last: str) -> None:
    """Refusals cost a miner no rest, and a directed request is not made to another miner."""
    asked = Asked(HONEST, 500)
    for _ in range(MOST_REQUESTS - 1):
        asked.then(10, "refused")
    asked.then(10, last)
    assert read(asked)[HONEST.ss58_address].asked_ms == WINDOW_MS
    assert rate(asked) < 0.1


def test_a_request_that_the_auditor_left_says_nothing() -> None:
    asked = Asked(HONEST, 500).then(5000, "client_left").on(1000)
    assert rate(asked) == pytest.approx(1.0)


def test_a_round_of_which_no_request_is_known_says_nothing() -> None:
    assert read(silent=[HONEST, ALSO_HONEST]) == {}
    assert Spell(0.0, 0, 0).times == UNKNOWN


def test_rounds_of_an_epoch_are_added_up() -> None:
    fast, slow = read(Asked(HONEST, 500).on(1000)), read(Asked(HONEST, 600).on(2000))
    found = done(fast, slow)[HONEST.ss58_address]
    assert (found.rounds, found.epochs, found.asked_ms) == (2, 1, 2 * WINDOW_MS)
    assert found.rate == pytest.approx(0.75)
    assert found.usual == pytest.approx(1.0)


ME = HONEST.ss58_address


def test_who_was_in_no_round_of_the_epoch_is_measured_by_the_newest_before() -> None:
    found = done(before=[{}, {ME: Times(6000, 12_000)}, {ME: Times(12_000, 12_000)}])[ME]
    assert (found.rounds, found.epochs, found.rate) == (0, 1, 0.5)
    assert done() == {}


def test_epochs_that_are_like_this_one_are_added() -> None:
    now = read(Asked(HONEST, 500).on(1000))
    before = [{ME: Times(22_000, 24_000)}, {ME: Times(27_000, 24_000)}, {ME: Times(27_000, 24_000)}]
    found = done(now, before=before)[ME]
    assert (found.rounds, found.epochs) == (1, 4)
    assert found.rate == pytest.approx((22 + 27 + 27 + 24) / 96)
    assert done(now)[ME].rate == 1.0


@pytest.mark.parametrize("earlier", [0, 12_000, 20_000, 28_500, 48_000])
def test_epochs_that_are_not_like_this_one_count_no_more(earlier: int) -> None:
    """A second hotkey on the machine, or a faster machine, is seen at once, and an outage forgotten."""
    now = read(Asked(HONEST, 500).on(1000))
    found = done(now, before=[{ME: Times(earlier, 24_000)}] * 5)[ME]
    assert (found.epochs, found.rate) == (1, done(now)[ME].rate)


@pytest.mark.parametrize("shares", [(0.4, 0.6), (0.47, 0.53), (0.3, 0.7), (0.45, 0.55)])
def test_hotkeys_that_take_turns_at_the_larger_part_of_a_machine_gain_nothing(
    shares: tuple[float, float],
) -> None:
    """What two are paid together over many epochs, whose parts of one machine go up and down."""
    parts = [shares[epoch % 3 == 0] for epoch in range(24)]
    paid = 0.0
    for own in (parts, [1 - part for part in parts]):
        for epoch in range(6, len(own)):
            before = [{ME: Times(round(part * 24_000), 24_000)} for part in own[epoch - 6 : epoch][::-1]]
            paid += done(before=before)[ME].rate
    assert paid / (len(parts) - 6) <= 1.005


def test_a_flood_that_looks_fast_outside_of_rounds_gains_no_work() -> None:
    """Half of its other answers come from a cache, under as many names as there are answers."""
    cached = [
        one.model_copy(update={"duration_ms": 50.0, "client": f"{place:032x}"}) if place % 2 else one
        for place, one in enumerate(many_records(HONEST, 1, range(12)))
    ]
    flooded = [*cached, *USUAL[6:]]
    assert rate(Asked(HONEST, 900).on(1000), others=flooded) <= 1.01
