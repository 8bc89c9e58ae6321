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
from validator.audit_history import MinerHistory, carry_history, count_verdicts, sum_tallies
from validator.verdicts import Verdict, VerdictOutcome

WINDOW = 12


def verdicts(passes: int, fails: int, inconclusive: int) -> list[Verdict]:
    outcomes: list[VerdictOutcome] = ["pass"] * passes
    outcomes += ["fail"] * fails
    outcomes += ["inconclusive"] * inconclusive
    records = many_records(HONEST, 1, range(len(outcomes)))
    return [example_verdict(r, block_number(1), o) for r, o in zip(records, outcomes, strict=True)]


def test_outcomes_are_counted() -> None:
    assert dict(count_verdicts(verdicts(3, 2, 1))) == {"passes": 3, "fails": 2, "inconclusive": 1}


def test_an_epoch_is_added_to_the_history_of_its_hotkeys() -> None:
    after = carry_history((), 7, verdicts(3, 2, 0), WINDOW)
    assert [one.hotkey for one in after] == [HONEST.ss58_address]
    assert [(t.epoch, t.passes, t.fails) for t in after[0].tallies] == [(7, 3, 2)]


def test_history_of_a_hotkey_without_audits_is_kept_until_it_expires() -> None:
    history = carry_history((), 7, verdicts(0, 2, 0), WINDOW)
    for epoch in range(8, 7 + WINDOW):
        history = carry_history(history, epoch, [], WINDOW)
        assert history, epoch
    assert carry_history(history, 7 + WINDOW, [], WINDOW) == ()


def test_history_is_ordered_by_hotkey_whatever_the_order_of_verdicts() -> None:
    miners = [CHEAT, HONEST, ALSO_HONEST]
    mixed = [
        example_verdict(record, block_number(1))
        for number, miner in enumerate(miners)
        for record in many_records(miner, number, [number])
    ]
    assert carry_history((), 1, mixed, WINDOW) == carry_history((), 1, mixed[::-1], WINDOW)


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)), max_size=30), st.integers(1, 12))
def test_what_is_carried_is_exactly_the_last_epochs(counts: list[tuple[int, int]], window: int) -> None:
    history: tuple[MinerHistory, ...] = ()
    for epoch, (passes, fails) in enumerate(counts, start=1):
        history = carry_history(history, epoch, verdicts(passes, fails, 0), window)
    total = sum_tallies(history[0].tallies if history else ())
    assert total.passes == sum(passes for passes, _ in counts[-window:])
    assert total.fails == sum(fails for _, fails in counts[-window:])


def test_no_window_means_no_history() -> None:
    assert carry_history((), 1, verdicts(1, 1, 0), 0) == ()
