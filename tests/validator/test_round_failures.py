"""Failures that come together are reported, and chance is not."""

import random

import pytest

from tests.validator.round_examples import CONFIG, hotkeys, own_machines, play
from validator.round_failures import joint_failures
from validator.round_history import RoundOutcome
from validator.round_times import Times

FIRST, SECOND = hotkeys(2)


def with_failures(share: float, together: bool, seed: int = 1) -> list[RoundOutcome]:
    """The first two miners fail in a share of the rounds, in the same ones or each in its own."""
    chance = random.Random(seed)
    found: list[RoundOutcome] = []
    for one in play(own_machines(5), CONFIG.round_window, seed):
        draws = [chance.random()] * 2 if together else [chance.random(), chance.random()]
        failing = {hotkey for hotkey, drawn in zip((FIRST, SECOND), draws, strict=True) if drawn < share}
        times = {key: Times(0, 1000) if key in failing else value for key, value in one.members.items()}
        found.append(RoundOutcome(one.block, one.full, one.requests_each, one.miners, times))
    return found


def test_failing_in_the_same_rounds_is_reported_with_its_counts() -> None:
    (found,) = joint_failures(with_failures(0.3, together=True), hotkeys(5), CONFIG)
    assert found.hotkeys == (FIRST, SECOND)
    assert found.p_value <= 1e-4 / 10
    assert (found.only_first, found.only_second) == (0, 0)
    assert 5 < found.both < found.rounds


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("share", [0.05, 0.3, 0.9])
def test_failing_as_often_in_other_rounds_is_not(share: float, seed: int) -> None:
    assert joint_failures(with_failures(share, together=False, seed=seed), hotkeys(5), CONFIG) == []


def test_who_never_fails_is_in_no_pair() -> None:
    assert joint_failures(play(own_machines(5), 192), hotkeys(5), CONFIG) == []


def test_one_joint_failure_is_not_enough() -> None:
    once = [
        RoundOutcome(
            one.block, one.full, one.requests_each, one.miners, dict.fromkeys(one.members, Times(0, 1))
        )
        for one in play(own_machines(2), 60)
        if len(one.members) == 2
    ][:1]
    lenient = CONFIG.model_copy(update={"probe_family_alpha": 0.999999})
    assert joint_failures(once, hotkeys(2), lenient) == []


def test_who_has_left_is_left_out() -> None:
    assert joint_failures(with_failures(0.3, together=True), hotkeys(4, 1), CONFIG) == []
