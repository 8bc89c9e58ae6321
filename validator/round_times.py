"""How long each member of a round took, beside how long it would have taken alone.

What a miner takes alone follows from its other answers of the epoch, those outside of rounds: the speed that
their shapes allow × how good this miner is (`validator/comparison.py`). So nothing about a round enters what
the round is measured by, and the draw of its members can't have had a part in it.
"""

import math
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from typing import NamedTuple

from validator.comparison import Polished, Sample, polish, speed, speed_sample
from validator.probe_rounds import ProbeRound, RoundRequests
from validator.request_facts import RequestFacts
from validator.scoring_config import ScoringConfig


class Times(NamedTuple):
    """A member's round in whole milliseconds.

    Attributes:
        alone_ms: what its answers would have taken it one after the other, alone; 0 when a request failed.
        took_ms: until the last one had ended; 0 when the round says nothing about this member.
    """

    alone_ms: int
    took_ms: int

    @property
    def speed(self) -> float | None:
        """Times as fast as one answer after the other; 0 of a failure, None when nothing is known."""
        return self.alone_ms / self.took_ms if self.took_ms else None


UNKNOWN = Times(0, 0)


class AloneTimes:
    """What answers take each miner alone, learned from `answers`."""

    def __init__(self, answers: Iterable[RequestFacts]) -> None:
        taken = list(answers)
        self._levels = [(shape, _polished(taken, shape, fewest)) for shape, fewest in _LEVELS]

    def of(self, answer: RequestFacts) -> float | None:
        """Milliseconds, by the finest kind of shape that is known; None of a miner with no other answer."""
        for shape, known in self._levels:
            reference = known.references.get(shape(answer))
            figure = known.figures.get(answer.miner_hotkey)
            if reference is not None and figure is not None:
                return answer.output_tokens * 1000 / (reference * figure)
        return None


def _whole_shape(answer: RequestFacts) -> Hashable:
    return speed_sample(answer)[0]


def _output_length(answer: RequestFacts) -> Hashable:
    return answer.output_tokens.bit_length()


def _any(_: RequestFacts) -> Hashable:
    return None


_LEVELS: Sequence[tuple[Callable[[RequestFacts], Hashable], int]] = (
    (_whole_shape, 2), (_output_length, 2), (_any, 1),
)  # fmt: skip
"""Kinds of shapes, finest first, and how many miners must have seen one for it to be known."""


def _polished(
    answers: Sequence[RequestFacts], shape: Callable[[RequestFacts], Hashable], fewest: int
) -> Polished:
    samples: dict[str, list[Sample]] = {}
    for answer in answers:
        samples.setdefault(answer.miner_hotkey, []).append(Sample(shape(answer), speed(answer)))
    return polish(samples, fewest)


def round_times(
    requests: Sequence[RequestFacts], rounds: Sequence[ProbeRound], config: ScoringConfig
) -> list[Mapping[str, Times]]:
    """The times of each round's members by hotkey, round by round."""
    by_id = {(one.request_id, one.miner_hotkey): one for one in requests}
    asked = {(name, one.hotkey) for held in rounds for one in held.asked for name in one.request_ids}
    alone = AloneTimes(
        one
        for one in requests
        if one.outcome == "answered" and one.output_tokens >= config.speed_min_tokens and one.key not in asked
    )
    return [
        {member.hotkey: _times(held, member, by_id, alone, config) for member in held.asked}
        for held in rounds
    ]


def _times(
    held: ProbeRound,
    member: RoundRequests,
    by_id: Mapping[tuple[str, str], RequestFacts],
    alone: AloneTimes,
    config: ScoringConfig,
) -> Times:
    found = [by_id.get((name, member.hotkey)) for name in member.request_ids]
    made = [one for one in found if one is not None and one.outcome != "client_left"]
    if len(made) < held.requests_each:
        return UNKNOWN
    took_ms = max(1, round(max(one.duration_ms for one in made)))
    if any(one.outcome != "answered" for one in made):
        return Times(0, took_ms)
    expected = [alone.of(one) for one in made]
    known = [one for one in expected if one is not None]
    if len(known) < len(made) or min(one.output_tokens for one in made) < config.round_min_tokens:
        return UNKNOWN
    return Times(max(1, round(math.fsum(known))), took_ms)
