"""Compares miners by answers of the same shape, so that nobody gains by which requests it answers.

Each answer's value (tokens a second, or one over the time to the first token) is taken for a product: what
its shape allows × how good its miner is. Both are found in turns by median polish (J. W. Tukey, Exploratory
Data Analysis, 1977), with × and ÷ in the place of + and −. All figures begin at 1, and each turn sets

    reference of a shape = median over miners of (own median in the shape ÷ own figure)
    figure of a miner    = median over its answers of (value ÷ reference of the shape)

A miner has one voice in a shape however many answers it gave there, and no client has more than a share of
what is said of a miner: a median over answers is one over clients, of each one's median
(`validator/client_voices.py`). One turn alone would measure a miner by who else had seen its shapes: beside
one fast miner it would look slow, alone with itself average. In the end figures are ÷ the best miner's.
Shapes that one miner alone has seen compare nothing and are left out; a miner that has no others is compared
by its median over everything.
"""

from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from validator.client_voices import (
    by_client,
    cautious_middle,
    middle,
    most_weight,
    voices_of,
    weighted_middle,
)
from validator.request_facts import RequestFacts


class Sample(NamedTuple):
    """The shape of an answer, a value that is better the larger it is, above zero, and whose answer it is."""

    shape: Hashable
    value: float
    client: str | None = None


POLISH_TURNS = 8
"""A fixed number, so that everybody ends with the same bits. With 30 answers a miner over two dozen shapes,
two hundred turns would move no figure by 2 %."""

SHORTEST_DURATION_MS = 1.0
"""Shorter answers count as if they had taken this long: no network is faster, and speeds stay finite."""


CONTINUED_TOKENS = 64
"""Four blocks of a prefix cache: prefilling fewer takes less time than the network."""


def median(values: Iterable[float]) -> float | None:
    """The middle value, or the mean of the two middle ones; None of nothing."""
    taken = list(values)
    return middle(taken) if taken else None


def speed(answer: RequestFacts) -> float:
    """Tokens a second over the whole answer, the first wait included: a burst at the end gains nothing."""
    return answer.output_tokens * 1000 / max(answer.duration_ms, SHORTEST_DURATION_MS)


def prompt_band(answer: RequestFacts) -> int:
    """The prompt's length in steps of a factor of four."""
    return answer.prompt_tokens.bit_length() // 2


def is_continuation(answer: RequestFacts) -> bool:
    """Whether a prefix cache could have supplied half of the prompt, and enough of it to be felt."""
    known = answer.known_prefix_tokens or 0
    return known >= CONTINUED_TOKENS and 2 * known >= answer.prompt_tokens


def speed_sample(answer: RequestFacts) -> Sample:
    """An answer's speed.

    Its shape: prompt length in steps of a factor of four, output length in steps of two, number of choices,
    and whether it was streamed.
    """
    lengths = (prompt_band(answer), answer.output_tokens.bit_length())
    shape = (*lengths, len(answer.choices), answer.streamed)
    return Sample(shape, speed(answer), answer.client)


def promptness_samples(answers: Iterable[RequestFacts], softening_ms: float) -> list[Sample]:
    """One over the times to the first token of streamed answers.

    Their shape: prompt length in steps of four, and whether they continue what the miner served before.
    """
    return [
        Sample(
            (prompt_band(answer), is_continuation(answer)),
            1 / (answer.ttft_ms + softening_ms),
            answer.client,
        )
        for answer in answers
        if answer.ttft_ms is not None
    ]


def compare(samples: Mapping[str, Sequence[Sample]], client_share: float = 0.0) -> dict[str, float]:
    """Each hotkey's figure in (0, 1], the best has 1; hotkeys without samples are left out.

    Args:
        client_share: the most that one client has to say of one miner, where there are clients enough.
    """
    taken = {hotkey: own for hotkey, own in samples.items() if own}
    by_shape = polish(taken, 2, client_share).figures
    anyhow = {hotkey: [one._replace(shape=None) for one in own] for hotkey, own in taken.items()}
    figures = polish(anyhow, 1, client_share).figures | by_shape
    best = max(figures.values(), default=1.0)
    return {hotkey: figure / best for hotkey, figure in figures.items()}


@dataclass(frozen=True)
class Polished:
    """What median polish ends with: references by shape, figures by hotkey."""

    references: Mapping[Hashable, float]
    figures: dict[str, float]


def polish(
    samples: Mapping[str, Sequence[Sample]], fewest_miners: int, client_share: float = 0.0
) -> Polished:
    """Take values apart into shapes and miners, over the shapes that so many miners have seen."""
    seen = _medians(samples, fewest_miners, client_share)
    comparable = {
        hotkey: _Said.of(shared, client_share)
        for hotkey, own in samples.items()
        if (shared := [one for one in own if one.shape in seen])
    }
    figures = dict.fromkeys(comparable, 1.0)
    reference: dict[Hashable, float] = {}
    for _ in range(POLISH_TURNS):
        reference = {
            shape: middle(value / figures[hotkey] for hotkey, value in medians.items())
            for shape, medians in seen.items()
        }
        figures = {hotkey: own.over(reference) for hotkey, own in comparable.items()}
    return Polished(reference, figures)


def figures_over(
    samples: Mapping[str, Sequence[Sample]], references: Mapping[Hashable, float], client_share: float = 0.0
) -> dict[str, float]:
    """Each hotkey's figure by references that are known; who has no answer of their shapes is left out."""
    known = {hotkey: [one for one in own if one.shape in references] for hotkey, own in samples.items()}
    return {hotkey: _Said.of(own, client_share).over(references) for hotkey, own in known.items() if own}


@dataclass(frozen=True)
class _Said:
    """What a miner's clients say of it, client by client, and the most that one of them weighs."""

    groups: Sequence[Sequence[Sample]]
    most: int

    @classmethod
    def of(cls, samples: Iterable[Sample], client_share: float) -> "_Said":
        groups = by_client((one.client, one) for one in samples)
        return cls(groups, most_weight([len(group) for group in groups], client_share))

    def over(self, reference: Mapping[Hashable, float]) -> float:
        """The median over clients of each one's median of (value ÷ reference of its shape)."""
        medians = [
            (len(group), middle(one.value / reference[one.shape] for one in group)) for group in self.groups
        ]
        return cautious_middle(medians, self.most)


def _medians(
    samples: Mapping[str, Sequence[Sample]], fewest_miners: int, client_share: float
) -> dict[Hashable, dict[str, float]]:
    """Each miner's own median in each shape that so many miners have seen."""
    found: dict[Hashable, dict[str, list[Sample]]] = {}
    for hotkey, own in samples.items():
        for one in own:
            found.setdefault(one.shape, {}).setdefault(hotkey, []).append(one)
    return {
        shape: {hotkey: _own_median(own, client_share) for hotkey, own in miners.items()}
        for shape, miners in found.items()
        if len(miners) >= fewest_miners
    }


def _own_median(samples: Iterable[Sample], client_share: float) -> float:
    values = by_client((one.client, one.value) for one in samples)
    return weighted_middle(voices_of(values, client_share))
