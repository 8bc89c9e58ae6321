"""Rounds are handed from epoch to epoch: as they were, and no more of them than count."""

from shared.canonical import canonical_json
from tests.validator.auditor_examples import HONEST, START_MS, example_record, many_records
from tests.validator.round_examples import CONFIG, own_machines, play
from tests.validator.test_round_times import a_round
from validator.request_facts import facts_of
from validator.round_history import NO_ROUNDS, RoundHistory, RoundInputs, carry_rounds, read_rounds


def test_rounds_come_back_as_they_were() -> None:
    played = play(own_machines(6), 20, fault_share=0.1)
    carried = carry_rounds(RoundInputs(), played)
    again = RoundHistory.model_validate_json(canonical_json(carried))
    assert read_rounds(RoundInputs(history=again), (), CONFIG).newest(CONFIG) == played


def test_this_epochs_rounds_follow_those_before() -> None:
    played = play(own_machines(6), 20)
    asked = example_record(900, duration_ms=2000.0)
    requests = [facts_of(one) for one in [*many_records(HONEST, 1, range(6)), asked]]
    inputs = RoundInputs(rounds=[a_round(asked)], history=carry_rounds(RoundInputs(), played))
    found = read_rounds(inputs, requests, CONFIG).newest(CONFIG)
    assert found[:-1] == played
    assert found[-1].members == {HONEST.ss58_address: (1000, 2000)}


def test_an_epoch_with_no_request_but_those_of_full_rounds_still_measures_work() -> None:
    asked = [example_record(900 + n, finished_at_ms=START_MS + 1000 * (n + 1)) for n in range(24)]
    held = a_round(*asked).model_copy(update={"full": True})
    read = read_rounds(RoundInputs(rounds=[held]), [facts_of(one) for one in asked], CONFIG)
    (found,) = read.spells
    assert found[HONEST.ss58_address].asked_ms == 24_000
    assert found[HONEST.ss58_address].work_ms > 0


def test_only_the_newest_rounds_are_kept() -> None:
    config = CONFIG.model_copy(update={"round_window": 30})
    history = carry_rounds(RoundInputs(), play(own_machines(4), 40))
    found = read_rounds(RoundInputs(history=history), (), config).newest(config)
    assert found == play(own_machines(4), 40)[-30:]
    assert len(carry_rounds(RoundInputs(), found).rounds) == 30


def test_hotkeys_that_no_round_names_any_more_are_dropped() -> None:
    old, new = play(own_machines(4), 5), play(own_machines(2), 5, 1)
    assert len(carry_rounds(RoundInputs(), [*old, *new]).hotkeys) == 4
    assert len(carry_rounds(RoundInputs(), new).hotkeys) == 2


def test_commitments_move_up() -> None:
    first = carry_rounds(RoundInputs(commitment="a" * 64), [])
    second = carry_rounds(RoundInputs(commitment="b" * 64, history=first), [])
    assert (NO_ROUNDS.commitments, first.commitments) == ((None, None), (None, "a" * 64))
    assert second.commitments == ("a" * 64, "b" * 64)


def test_the_size_of_a_large_network_is_bounded() -> None:
    """About 3 kB a round at 256 miners, so some 600 kB for all that count."""
    carried = carry_rounds(RoundInputs(), play(own_machines(256), 4))
    assert len(canonical_json(carried)) < 256 * 60 + 4 * 4000
