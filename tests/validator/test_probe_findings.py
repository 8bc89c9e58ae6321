"""What probes found enters scores as it was measured, and stays out of them where it proves nothing."""

import pytest

from tests.validator.auditor_examples import (
    HONEST,
    block_number,
    example_record,
    example_verdict,
    many_records,
)
from tests.validator.round_examples import CONFIG, hotkeys, own_machines, play, shared
from tests.validator.test_shared_machines import with_one_machine_of
from validator.epoch_summary import results_of
from validator.measurement import EpochInputs, RegisteredMiner
from validator.miner_status import probe_status
from validator.probe_findings import ProbeFindings, probe_results
from validator.request_facts import facts_of
from validator.round_history import RoundHistory, RoundInputs, RoundOutcome, carry_rounds
from validator.round_times import Times
from validator.scoring import MinerScore, score

ME = HONEST.ss58_address
OTHER, *_ = hotkeys(1)


def history(machines: dict[str, str], rounds: int = 192) -> RoundHistory:
    played = play(machines, rounds, schedule=shared)
    return carry_rounds(RoundInputs(), played, [one.members for one in played[::-1] if one.full][:1])


def epoch(rounds: RoundHistory) -> EpochInputs:
    """HONEST has answered five requests, whose audits passed; others are registered and idle."""
    records = many_records(HONEST, 1, range(5))
    verdicts = [example_verdict(one, block_number(1)) for one in records]
    miners = [RegisteredMiner(uid=uid, hotkey=key) for uid, key in enumerate([*hotkeys(6), ME], start=2)]
    requests = [facts_of(one) for one in records]
    return EpochInputs(5, requests, verdicts, miners, (), rounds=RoundInputs(history=rounds))


SHARING = {ME: "shared", OTHER: "shared"} | {one: one for one in hotkeys(5, 1)}
APART = {one: one for one in (ME, *hotkeys(6))}


def mine(inputs: EpochInputs, found: ProbeFindings | None = None) -> MinerScore:
    return next(one for one in score(inputs, CONFIG, found) if one.hotkey == ME)


def test_who_shares_a_machine_is_told_with_whom() -> None:
    alone, sharing = mine(epoch(history(APART))), mine(epoch(history(SHARING)))
    assert (alone.score, sharing.score) == (1.0, 1.0), "alone among eligible miners it is the best"
    (told,) = (one for one in sharing.reasons if "give each a machine of its own" in one)
    assert OTHER in told
    assert not any("machine of its own" in one for one in alone.reasons)


def test_findings_are_published_and_the_rounds_handed_on() -> None:
    results = results_of(epoch(history(SHARING)), CONFIG)
    (machine,) = results.probes.shared_machines
    assert set(machine.hotkeys) == {ME, OTHER}
    assert results.probes.rounds == 192
    assert len(results.rounds_after.rounds) == CONFIG.round_window
    assert results.rounds_after.work == history(SHARING).work
    assert ProbeFindings.model_validate_json(results.probes.model_dump_json()) == results.probes


def test_findings_that_are_known_already_are_not_made_again() -> None:
    inputs = epoch(history(SHARING))
    none = probe_results(epoch(history(APART)), CONFIG).findings
    assert mine(inputs, none) != mine(inputs)
    assert mine(inputs, probe_results(inputs, CONFIG).findings) == mine(inputs)


def test_concurrency_is_what_several_at_once_gain() -> None:
    def batches(rounds: list[RoundOutcome]) -> list[RoundOutcome]:
        """The first miner serves several at once as fast as one."""
        return [
            RoundOutcome(
                one.block,
                one.full,
                one.requests_each,
                one.miners,
                {
                    key: Times(
                        times.alone_ms * one.requests_each if key == OTHER else times.alone_ms, times.took_ms
                    )
                    for key, times in one.members.items()
                },
            )
            for one in rounds
        ]

    rounds = carry_rounds(RoundInputs(), batches(play(own_machines(4), 192)))
    found = {one.hotkey: one for one in probe_results(epoch(rounds), CONFIG).findings.concurrency}
    assert found[OTHER].gain == pytest.approx(CONFIG.wide_round_requests, rel=0.15)
    assert found[hotkeys(2)[1]].gain == pytest.approx(1.0, rel=0.15)
    assert found[OTHER].wide + found[OTHER].single > 40
    assert ME not in found


def test_too_few_rounds_state_no_concurrency() -> None:
    few = carry_rounds(RoundInputs(), play(own_machines(4), 4))
    assert probe_results(epoch(few), CONFIG).findings.concurrency == ()


def test_an_epoch_without_rounds_finds_nothing() -> None:
    found = probe_results(epoch(RoundHistory()), CONFIG).findings
    assert (found.rounds, found.work, found.links, found.shared_machines) == (0, (), (), ())
    assert (found.concurrency, found.joint_failures, found.repeated_commitments) == ((), (), ())


def test_failing_requests_of_a_round_count_as_failed_like_any_other() -> None:
    records = [*many_records(HONEST, 1, range(5)), example_record(9, HONEST, 1, "failed")]
    inputs = epoch(RoundHistory())
    worse = EpochInputs(
        5, [facts_of(one) for one in records], inputs.verdicts, inputs.miners, (), rounds=inputs.rounds
    )
    assert mine(worse).score < mine(inputs).score


def test_a_miner_without_a_full_round_is_not_paid_yet_and_told_so() -> None:
    others = {one: one for one in hotkeys(6)}
    found = mine(epoch(history(others)))
    assert found.score == 0.0
    assert any("no round that asks all miners has asked it yet" in one for one in found.reasons)


def test_sharing_among_others_leaves_a_score_as_it_was() -> None:
    machines = {**with_one_machine_of(2), ME: ME}
    assert mine(epoch(history(machines))).score == 1.0


def test_a_miner_is_told_what_probes_found_about_it_and_about_nobody_else() -> None:
    found = probe_results(epoch(history(SHARING)), CONFIG).findings
    told, other = probe_status(ME, found), probe_status(hotkeys(2)[1], found)
    assert told["rounds"] == other["rounds"] == 192
    assert told["shared_machine"]["hotkeys"] == sorted([ME, OTHER])
    assert {one["slowed"] for one in told["links"]} == {ME, OTHER}
    assert told["concurrency"]["hotkey"] == told["work"]["hotkey"] == ME
    assert (other["shared_machine"], other["links"], told["repeated_commitment"]) == (None, [], None)
