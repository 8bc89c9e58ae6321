"""How long each member of a round that asks a half took, beside how long it would have taken alone.

What a miner takes alone follows from its other answers of the epoch, those outside of rounds: the speed that
their shapes allow × how good this miner is (`validator/comparison.py`). So nothing about a round enters what
the round is measured by, and the draw of its members can't have had a part in it.
"""

import math
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
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

Shape = Callable[[RequestFacts], Hashable]


class AloneTimes:
    """What answers take each miner alone, learned from `answers`.

    Args:
        client_share: the most that one client has to say of one miner.
    """

    def __init__(self, answers: Iterable[RequestFacts], client_share: float = 0.0) -> None:
        self._answers, self._client_share = list(answers), client_share
        self._known: dict[int, Polished] = {}

    @property
    def _levels(self) -> Iterator[tuple[Shape, Polished]]:
        """What is known, finest first; coarser kinds are looked at where finer ones don't do."""
        for level, (shape, fewest) in enumerate(_LEVELS):
            if level not in self._known:
                self._known[level] = _polished(self._answers, shape, fewest, self._client_share)
            yield shape, self._known[level]

    @classmethod
    def outside(
        cls, requests: Iterable[RequestFacts], rounds: Iterable[ProbeRound], config: ScoringConfig
    ) -> "AloneTimes":
        """Learned from the answers of an epoch that belong to none of `rounds`."""
        asked = requests_of(rounds)
        answers = [
            one
            for one in requests
            if one.outcome == "answered"
            and one.output_tokens >= config.speed_min_tokens
            and one.key not in asked
        ]
        return cls(answers, config.client_share)

    @property
    def is_known(self) -> bool:
        """Whether there was any answer to learn from."""
        return bool(self._answers)

    def figure(self, hotkey: str) -> float | None:
        """How fast a miner usually is, ÷ the references; None of a miner with no answer."""
        found = (known.figures.get(hotkey) for _, known in self._levels)
        return next((one for one in found if one is not None), None)

    def work_ms(self, answer: RequestFacts) -> float | None:
        """What an answer takes a miner whose figure is 1; None when nothing is known."""
        for shape, known in self._levels:
            if (reference := known.references.get(shape(answer))) is not None:
                return answer.output_tokens * 1000 / reference
        return None

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


_LEVELS: Sequence[tuple[Shape, int]] = (
    (_whole_shape, 2), (_output_length, 2), (_any, 1),
)  # fmt: skip
"""Kinds of shapes, finest first, and how many miners must have seen one for it to be known."""


def _polished(
    answers: Sequence[RequestFacts],
    shape: Shape,
    fewest: int,
    client_share: float,
) -> Polished:
    samples: dict[str, list[Sample]] = {}
    for answer in answers:
        sample = Sample(shape(answer), speed(answer), answer.client)
        samples.setdefault(answer.miner_hotkey, []).append(sample)
    return polish(samples, fewest, client_share)


def requests_of(rounds: Iterable[ProbeRound]) -> set[tuple[str, str]]:
    """The keys of the requests that belong to rounds."""
    return {(name, one.hotkey) for held in rounds for one in held.asked for name in one.request_ids}


def round_times(
    held: ProbeRound, facts: Mapping[tuple[str, str], RequestFacts], alone: AloneTimes, config: ScoringConfig
) -> Mapping[str, Times]:
    """The times of a round's members, by hotkey; `facts` by key."""
    return {member.hotkey: _times(held, member, facts, alone, config) for member in held.asked}


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
