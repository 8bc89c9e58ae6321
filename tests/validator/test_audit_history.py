from hypothesis import given
from hypothesis import strategies as st

from tests.validator.auditor_examples import (
    ALSO_HONEST,
    CHEAT,
    HONEST,
    block_number,
    example_verdict,
    many_records,
)
from validator.audit_history import MinerHistory, carry_history, count_verdicts, standings, sum_tallies
from validator.scoring_config import ScoringConfig
from validator.verdicts import Verdict, VerdictOutcome

CONFIG = ScoringConfig()
WINDOW = CONFIG.history_epochs


def verdicts(passes: int, fails: int, inconclusive: int) -> list[Verdict]:
    outcomes: list[VerdictOutcome] = ["pass"] * passes
    outcomes += ["fail"] * fails
    outcomes += ["inconclusive"] * inconclusive
    records = many_records(HONEST, 1, range(len(outcomes)))
    return [example_verdict(r, block_number(1), o) for r, o in zip(records, outcomes, strict=True)]


def test_outcomes_are_counted() -> None:
    assert dict(count_verdicts(verdicts(3, 2, 1))) == {"passes": 3, "fails": 2, "inconclusive": 1}


def test_an_epoch_is_added_to_the_history_of_its_hotkeys() -> None:
    after = carry_history((), 7, verdicts(3, 2, 0), CONFIG)
    assert [one.hotkey for one in after] == [HONEST.ss58_address]
    assert [(t.epoch, t.passes, t.fails) for t in after[0].tallies] == [(7, 3, 2)]


def test_history_of_a_hotkey_without_audits_is_kept_until_it_expires() -> None:
    history = carry_history((), 7, verdicts(2, 0, 0), CONFIG)
    for epoch in range(8, 7 + WINDOW):
        history = carry_history(history, epoch, [], CONFIG)
        assert history, epoch
    assert carry_history(history, 7 + WINDOW, [], CONFIG) == ()


def test_evidence_never_expires() -> None:
    history = carry_history((), 7, verdicts(0, 2, 0), CONFIG)
    test = history[0].test
    assert test.log_evidence > 0
    for epoch in range(8, 100):
        history = carry_history(history, epoch, [], CONFIG)
    assert [(one.tallies, one.test) for one in history] == [((), test)]


def test_the_test_goes_on_from_epoch_to_epoch() -> None:
    once = carry_history((), 1, verdicts(1, 1, 0), CONFIG)
    twice = carry_history(once, 2, verdicts(3, 1, 0), CONFIG)
    assert once[0].test.audits == 2
    assert (twice[0].test.audits, twice[0].test.support) == (6, 2)
    assert twice[0].test.log_evidence > once[0].test.log_evidence
    assert standings(twice) == {HONEST.ss58_address: twice[0].test}


def test_history_is_ordered_by_hotkey_whatever_the_order_of_verdicts() -> None:
    miners = [CHEAT, HONEST, ALSO_HONEST]
    mixed = [
        example_verdict(record, block_number(1))
        for number, miner in enumerate(miners)
        for record in many_records(miner, number, [number])
    ]
    assert carry_history((), 1, mixed, CONFIG) == carry_history((), 1, mixed[::-1], CONFIG)


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)), max_size=30), st.integers(1, 12))
def test_what_is_carried_is_exactly_the_last_epochs(counts: list[tuple[int, int]], window: int) -> None:
    history: tuple[MinerHistory, ...] = ()
    for epoch, (passes, fails) in enumerate(counts, start=1):
        history = carry_history(
            history, epoch, verdicts(passes, fails, 0), ScoringConfig(history_epochs=window)
        )
    total = sum_tallies(history[0].tallies if history else ())
    assert total.passes == sum(passes for passes, _ in counts[-window:])
    assert total.fails == sum(fails for _, fails in counts[-window:])


def test_no_window_means_no_tallies() -> None:
    config = ScoringConfig(history_epochs=0)
    assert carry_history((), 1, verdicts(3, 0, 0), config) == ()
    assert [one.tallies for one in carry_history((), 1, verdicts(0, 1, 0), config)] == [()]
