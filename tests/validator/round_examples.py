"""Rounds that are played in memory: who is asked, on which machine, and how long it takes."""

import random
from collections.abc import Callable, Mapping, Sequence

from shared.canonical import sha256_hex
from validator.probe_rounds import members, round_after
from validator.round_history import RoundOutcome
from validator.round_times import UNKNOWN, Times
from validator.scoring_config import ScoringConfig

CONFIG = ScoringConfig()
SECRET = sha256_hex(b"secret")
NOISE = 0.15
"""Answers of one shape differ in speed by about so much, as in `bench.incentives`."""

Machines = Mapping[str, str]
"""The machine of each hotkey."""

Schedule = Callable[[Sequence[int]], Sequence[int]]
"""When answers that take so many milliseconds alone have ended, on one machine."""


def shared(alone: Sequence[int]) -> Sequence[int]:
    """The machine divides its time evenly."""
    return [sum(min(one, own) for one in alone) for own in alone]


def queued(alone: Sequence[int]) -> Sequence[int]:
    """One after the other."""
    return [sum(alone[: place + 1]) for place in range(len(alone))]


def dropped(alone: Sequence[int]) -> Sequence[int]:
    """The first is served, the others' connections are reset."""
    return [*alone[:1], *(0 for _ in alone[1:])]


def hotkeys(count: int, first: int = 0) -> list[str]:
    """So many hotkeys, in order."""
    digits = str.maketrans("0123456789", "123456789A")
    return [f"5{number:047d}".translate(digits) for number in range(first, first + count)]


def own_machines(count: int) -> Machines:
    """Honest miners."""
    return {hotkey: hotkey for hotkey in hotkeys(count)}


def block_hash(number: int, seed: int = 0) -> str:
    return "0x" + sha256_hex(f"{seed}|{number}".encode())


def drawn_blocks(count: int, seed: int = 0) -> list[int]:
    """The first blocks that are followed by a round."""
    found: list[int] = []
    number = 0
    while len(found) < count:
        if round_after(SECRET, block_hash(number, seed), CONFIG):
            found.append(number)
        number += 1
    return found


def play(
    machines: Machines, rounds: int, seed: int = 0, schedule: Schedule = shared, fault_share: float = 0.0
) -> list[RoundOutcome]:
    """So many rounds among these miners; the same for the same seed."""
    chance = random.Random(seed)
    return [
        _round(machines, number, seed, schedule, fault_share, chance) for number in drawn_blocks(rounds, seed)
    ]


def _round(
    machines: Machines, number: int, seed: int, schedule: Schedule, fault_share: float, chance: random.Random
) -> RoundOutcome:
    drawn = round_after(SECRET, block_hash(number, seed), CONFIG)
    assert drawn is not None
    asked = members(SECRET, block_hash(number, seed), drawn.full, machines)
    if drawn.full:
        return _full_round(machines, number, chance)
    alone = {hotkey: round(chance.lognormvariate(7.5, 0.8)) + 1 for hotkey in asked}
    times: dict[str, Times] = {}
    for machine in sorted({machines[hotkey] for hotkey in asked}):
        own = [hotkey for hotkey in asked if machines[hotkey] == machine]
        for hotkey, ended in zip(own, schedule([alone[one] for one in own]), strict=True):
            took_ms = round(ended * chance.lognormvariate(0, NOISE))
            times[hotkey] = Times(alone[hotkey], took_ms) if ended else Times(0, 1000)
            if chance.random() < fault_share:
                times[hotkey] = Times(0, 1000)
            if chance.random() < 0.05:
                times[hotkey] = UNKNOWN
    return RoundOutcome(number, drawn.full, drawn.requests_each, frozenset(machines), times)


def _full_round(machines: Machines, number: int, chance: random.Random) -> RoundOutcome:
    """Each machine's work is divided evenly among its hotkeys."""
    names = list(machines.values())
    times = {
        hotkey: Times(
            round(CONFIG.full_round_ms / names.count(machine) * chance.lognormvariate(0, NOISE / 3)),
            CONFIG.full_round_ms,
        )
        for hotkey, machine in sorted(machines.items())
    }
    return RoundOutcome(number, True, 1, frozenset(machines), times)
