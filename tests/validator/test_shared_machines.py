"""Who shares a machine is found, honest miners are not."""

import random
from collections.abc import Sequence

import pytest

from tests.validator.round_examples import (
    CONFIG,
    Machines,
    Schedule,
    dropped,
    hotkeys,
    own_machines,
    play,
    queued,
    shared,
)
from validator.exact_tests import rank_sum_p_value
from validator.machine_links import find_links
from validator.round_history import RoundOutcome
from validator.round_times import Times
from validator.shared_machines import SharedMachine, shared_machines


def with_one_machine_of(count: int, honest: int = 5) -> Machines:
    """The first hotkeys share a machine, the others have their own."""
    shared_by = dict.fromkeys(hotkeys(count), "shared")
    return shared_by | {hotkey: hotkey for hotkey in hotkeys(honest, count)}


def machines_found(outcomes: Sequence[RoundOutcome]) -> list[SharedMachine]:
    miners = {hotkey for one in outcomes for hotkey in one.miners}
    return shared_machines(outcomes, find_links(outcomes, miners, CONFIG))


@pytest.mark.parametrize("schedule", [shared, queued, dropped])
@pytest.mark.parametrize("seed", range(4))
def test_two_hotkeys_of_one_machine_are_found_to_be_one(schedule: Schedule, seed: int) -> None:
    (found,) = machines_found(play(with_one_machine_of(2), CONFIG.round_window, seed, schedule))
    assert found.hotkeys == tuple(hotkeys(2))
    assert 1 <= found.machines < 1.12


@pytest.mark.parametrize("count", [3, 4])
def test_more_hotkeys_of_one_machine_are_found_to_be_one(count: int) -> None:
    (found,) = machines_found(play(with_one_machine_of(count), CONFIG.round_window, 1))
    assert set(found.hotkeys) <= set(hotkeys(count))
    assert len(found.hotkeys) >= count - 1
    assert found.machines < 1.35


def test_two_machines_of_two_are_two_groups() -> None:
    machines = {hotkey: str(place // 2) for place, hotkey in enumerate(hotkeys(4))}
    assert [one.hotkeys for one in machines_found(play(machines, 192))] == [
        tuple(hotkeys(2)),
        tuple(hotkeys(2, 2)),
    ]


@pytest.mark.parametrize("seed", range(6))
def test_honest_miners_are_not_linked(seed: int) -> None:
    assert machines_found(play(own_machines(10), CONFIG.round_window, seed, fault_share=0.05)) == []


def test_honest_windows_with_a_link_are_no_more_than_the_level_says() -> None:
    """At a family level of 0.2, that there are enough to count; the test is as exact at 10⁻⁴."""
    level, windows = 0.2, 120
    config = CONFIG.model_copy(update={"probe_family_alpha": level})
    linked = sum(
        bool(find_links(play(own_machines(6), 64, 1000 + seed, fault_share=0.02), hotkeys(6), config))
        for seed in range(windows)
    )
    assert linked / windows <= level + 4 * (level / windows) ** 0.5


def test_common_slowness_links_nobody() -> None:
    """A network that is slow for all in half of the rounds, and fails for all in a tenth."""
    chance = random.Random(5)
    slowed = [
        RoundOutcome(
            one.block,
            one.full,
            one.requests_each,
            one.miners,
            {
                hotkey: Times(0 if factor == 9 else times.alone_ms, times.took_ms * factor)
                for hotkey, times in one.members.items()
            },
        )
        for one in play(own_machines(8), CONFIG.round_window)
        for factor in [chance.choice([1, 1, 1, 1, 3, 3, 3, 3, 3, 9])]
    ]
    assert machines_found(slowed) == []


def test_too_few_rounds_link_nobody() -> None:
    outcomes = play(with_one_machine_of(2), 192, schedule=queued)
    assert machines_found(outcomes[:16]) == []
    assert machines_found(outcomes[:144]) != []


def test_the_test_of_a_pair_is_exact_while_others_share_a_machine() -> None:
    """p-values of honest pairs beside a shared machine are no smaller than chance allows."""
    level, pairs, small = 0.05, 0, 0
    for seed in range(12):
        outcomes = play(with_one_machine_of(2, 6), 64, 100 + seed)
        miners = hotkeys(8)
        config = CONFIG.model_copy(update={"probe_family_alpha": level * 56})
        links = find_links(outcomes, miners, config)
        pairs += 54
        small += sum({one.slowed, one.by} != set(hotkeys(2)) for one in links)
    assert small / pairs <= level + 4 * (level / pairs) ** 0.5


def test_two_that_slow_each_other_by_a_tenth_are_nearly_two_machines() -> None:
    def nearly_two(alone: Sequence[int]) -> Sequence[int]:
        return [round(own * (1 + 0.1 * (len(alone) - 1))) for own in alone]

    links = find_links(play(with_one_machine_of(2), 192, 2, nearly_two), hotkeys(7), CONFIG)
    for one in shared_machines(play(with_one_machine_of(2), 192, 2, nearly_two), links):
        assert one.machines > 1.7


def test_a_pair_that_is_linked_by_chance_is_nearly_two_machines() -> None:
    outcomes = play(own_machines(6), CONFIG.round_window)
    lenient = CONFIG.model_copy(update={"probe_family_alpha": 15.0})
    links = find_links(outcomes, hotkeys(6), lenient)
    assert links, "at this level chance links somebody"
    assert all(one.machines > 1.6 for one in shared_machines(outcomes, links[:1]))


def test_links_say_what_they_rest_on() -> None:
    outcomes = play(with_one_machine_of(2), CONFIG.round_window)
    for one in find_links(outcomes, hotkeys(7), CONFIG):
        assert {one.slowed, one.by} == set(hotkeys(2))
        assert one.p_value <= 1e-4 / 42
        assert min(one.together, one.apart) > 20
        assert 0.4 < one.ratio < 0.75


def test_who_has_left_is_linked_to_nobody() -> None:
    outcomes = play(with_one_machine_of(2), CONFIG.round_window)
    assert find_links(outcomes, hotkeys(6, 1), CONFIG) == []


def test_order_of_miners_changes_no_bit() -> None:
    outcomes, miners = play(with_one_machine_of(3), 192), hotkeys(8)
    assert find_links(outcomes, miners, CONFIG) == find_links(outcomes, miners[::-1], CONFIG)


def test_a_round_in_which_a_hotkey_could_not_be_asked_compares_nothing() -> None:
    """Rounds from before a miner came are neither with it nor without it."""
    late, others = hotkeys(1)[0], hotkeys(4, 1)
    before = [
        RoundOutcome(
            one.block, one.full, one.requests_each, one.miners, {k: Times(1000, 5000) for k in one.members}
        )
        for one in play({hotkey: hotkey for hotkey in others}, 40)
    ]
    after = play({hotkey: hotkey for hotkey in [late, *others]}, 40, 7)
    assert find_links([*before, *after], [late, *others], CONFIG) == []


def test_speeds_are_ranked_and_not_averaged() -> None:
    assert rank_sum_p_value([0.9] * 10 + [1e-9], [1.0] * 10) < 0.01
