"""Rounds of probes in the simulation: drawn by the real rule from made-up blocks."""

import hashlib
import random
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

from bench.incentives.traffic import EPOCH_S, Arrival, arrival
from validator.measurement import ChallengeBlock
from validator.probe_rounds import BLOCK_MS, round_after
from validator.scoring_config import ScoringConfig

START_MS = 1_700_000_000_000
SECRET = hashlib.sha256(b"bench.incentives").hexdigest()
"""One for all epochs: no player of the simulation looks at it."""


@lru_cache(maxsize=8192)
def block_at(number: int) -> ChallengeBlock:
    """A block of the simulated chain, one every 12 s."""
    digest = hashlib.sha256(f"bench.incentives|{number}".encode()).hexdigest()
    return ChallengeBlock(number=number, hash=f"0x{digest}", timestamp_ms=START_MS + number * BLOCK_MS)


@dataclass(frozen=True)
class Call:
    """A round that is due: `at_s` after the beginning of its epoch."""

    block: ChallengeBlock
    at_s: float
    full: bool
    requests_each: int
    lasts_s: float

    def request(self, uid: int, number: int, again: int = 0) -> Arrival:
        """A member's request, the same whatever else is played; nobody's own.

        Args:
            again: how often it was asked before in vain: it has the same to do, and its faults are new.
        """
        asked = _request(self.block.hash, self.at_s, self.full, uid, number)
        if not again:
            return asked
        anew = arrival(number, self.at_s, random.Random(f"{asked.signature}/{again}"), synthetic=True)
        return replace(asked, faults=anew.faults, whim=anew.whim, signature=anew.signature)


@lru_cache(maxsize=1 << 17)
def _request(block_hash: str, at_s: float, full: bool, uid: int, number: int) -> Arrival:
    drawn = arrival(number, at_s, random.Random(f"{block_hash}/{uid}/{number}"), synthetic=True)
    return replace(drawn, owner=1.0, pressed=full)


def calls(epoch: int, config: ScoringConfig) -> Sequence[Call]:
    """The rounds of an epoch, in order of time."""
    due: list[Call] = []
    first, last = (round((epoch + end) * EPOCH_S * 1000) // BLOCK_MS for end in (0, 1))
    for number in range(first, last):
        block = block_at(number)
        drawn = round_after(SECRET, block.hash, config)
        if drawn is not None:
            at_s = (block.timestamp_ms - START_MS + drawn.delay_ms) / 1000 - epoch * EPOCH_S
            lasts_s = drawn.lasts_ms / 1000
            due.append(Call(block, at_s, drawn.full, drawn.requests_each, lasts_s))
    return _apart(sorted((one for one in due if 0 <= one.at_s < EPOCH_S), key=lambda one: one.at_s))


def _apart(due: Sequence[Call]) -> Sequence[Call]:
    """Those that do not begin while another one goes on."""
    held: list[Call] = []
    for one in due:
        if not held or one.at_s >= held[-1].at_s + held[-1].lasts_s:
            held.append(one)
    return held
