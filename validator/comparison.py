"""Compares miners by answers of the same shape, so that nobody gains by which requests it answers.

Each answer's value (tokens a second, or one over the time to the first token) is taken for a product: what
its shape allows × how good its miner is. Both are found in turns by median polish (J. W. Tukey, Exploratory
Data Analysis, 1977), with × and ÷ in the place of + and −. All figures begin at 1, and each turn sets

    reference of a shape = median over miners of (own median in the shape ÷ own figure)
    figure of a miner    = median over its answers of (value ÷ reference of the shape)

A miner has one voice in a shape however many answers it gave there. One turn alone would measure a miner by
who else had seen its shapes: beside one fast miner it would look slow, alone with itself average. In the end
figures are ÷ the best miner's. Shapes that one miner alone has seen compare nothing and are left out; a
miner that has no others is compared by its median over everything.
"""

from collections.abc import Hashable, Iterable, Mapping, Sequence

from validator.request_facts import RequestFacts

Sample = tuple[Hashable, float]
"""The shape of an answer, and a value that is better the larger it is, above zero."""

POLISH_TURNS = 8
"""A fixed number, so that everybody ends with the same bits. With 30 answers a miner over two dozen shapes,
two hundred turns would move no figure by 2 %."""

SHORTEST_DURATION_MS = 1.0
"""Shorter answers count as if they had taken this long: no network is faster, and speeds stay finite."""


def median(values: Iterable[float]) -> float | None:
    """The middle value, or the mean of the two middle ones; None of nothing."""
    taken = list(values)
    return _middle(taken) if taken else None


def _middle(values: Iterable[float]) -> float:
    """The median of at least one value."""
    ordered = sorted(values)
    middle = len(ordered) // 2
    return ordered[middle] if len(ordered) % 2 else (ordered[middle - 1] + ordered[middle]) / 2


def speed(answer: RequestFacts) -> float:
    """Tokens a second over the whole answer, the first wait included: a burst at the end gains nothing."""
    return answer.output_tokens * 1000 / max(answer.duration_ms, SHORTEST_DURATION_MS)


def speed_sample(answer: RequestFacts) -> Sample:
    """An answer's speed.

    Its shape: prompt length in steps of a factor of four, output length in steps of two, number of choices,
    and whether it was streamed.
    """
    lengths = (answer.prompt_tokens.bit_length() // 2, answer.output_tokens.bit_length())
    return (*lengths, len(answer.choices), answer.streamed), speed(answer)


def promptness_samples(answers: Iterable[RequestFacts], softening_ms: float) -> list[Sample]:
    """One over the times to the first token of streamed answers; shape: prompt length in steps of four."""
    return [
        (answer.prompt_tokens.bit_length() // 2, 1 / (answer.ttft_ms + softening_ms))
        for answer in answers
        if answer.ttft_ms is not None
    ]


def compare(samples: Mapping[str, Sequence[Sample]]) -> dict[str, float]:
    """Each hotkey's figure in (0, 1], the best has 1; hotkeys without samples are left out."""
    taken = {hotkey: own for hotkey, own in samples.items() if own}
    by_shape = _figures(taken, fewest_miners=2)
    whole = _figures({hotkey: [(None, value) for _, value in own] for hotkey, own in taken.items()}, 1)
    figures = whole | by_shape
    best = max(figures.values(), default=1.0)
    return {hotkey: figure / best for hotkey, figure in figures.items()}


def _figures(samples: Mapping[str, Sequence[Sample]], fewest_miners: int) -> dict[str, float]:
    """The figures that median polish ends with, over the shapes that so many miners have seen."""
    seen = _medians(samples, fewest_miners)
    comparable = {
        hotkey: shared
        for hotkey, own in samples.items()
        if (shared := [(shape, value) for shape, value in own if shape in seen])
    }
    figures = dict.fromkeys(comparable, 1.0)
    for _ in range(POLISH_TURNS):
        reference = {
            shape: _middle(value / figures[hotkey] for hotkey, value in medians.items())
            for shape, medians in seen.items()
        }
        figures = {
            hotkey: _middle(value / reference[shape] for shape, value in own)
            for hotkey, own in comparable.items()
        }
    return figures


def _medians(samples: Mapping[str, Sequence[Sample]], fewest_miners: int) -> dict[Hashable, dict[str, float]]:
    """Each miner's own median in each shape that so many miners have seen."""
    values: dict[Hashable, dict[str, list[float]]] = {}
    for hotkey, own in samples.items():
        for shape, value in own:
            values.setdefault(shape, {}).setdefault(hotkey, []).append(value)
    return {
        shape: {hotkey: _middle(own) for hotkey, own in miners.items()}
        for shape, miners in values.items()
        if len(miners) >= fewest_miners
    }
