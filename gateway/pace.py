"""How fast answers have come lately, by the length of their prompts: decaying averages of own measurements.

Each average is geometric (times are compared by ratios), older answers weigh less, and one answer moves it
by a bounded factor, whatever it was:

    weight ← weight × 2^(−age ÷ HALF_LIFE_S)
    value  ← value × clip(sample ÷ value, 1 ÷ MOST_CHANGE, MOST_CHANGE)^(1 ÷ (weight + 1))
    weight ← min(weight + 1, MOST_WEIGHT)

An average begins at what is typical of all miners, as if that had been measured once: so even a newcomer's
first answer is not taken at its word. Samples are divided by what was under way beside them (`slowdown`).
"""

import math
from typing import NamedTuple

HALF_LIFE_S = 600.0
"""What was measured counts half after ten minutes, as requests do (`gateway/routing.py`)."""

MOST_WEIGHT = 8.0
"""Answers that an average rests on: answers of one shape differ by some 15 % (`bench/incentives/traffic.py`),
the average by a third of that."""

MOST_CHANGE = 2.0
"""One outlier moves an average that rests on eight answers by 2^(1/9): 8 %."""

LOAD_SLOWDOWN = 0.25
"""Share by which each answer under way slows another one down. An engine with room batches: 33 tokens a
second alone, 197 together at eight, so 5 % each; one that takes requests in turn loses 100 % each. An average
tells the two apart only after an answer's time, so the guess is on the careful side."""

UNKNOWN_FIRST_S = 0.5
UNKNOWN_TOKEN_S = 0.02
"""Before anything has been measured: the same of all miners, so that they change no choice."""

MIN_TOKENS = 8
"""Shorter answers say nothing of the time between tokens (`ScoringConfig.speed_min_tokens`)."""


class Typical(NamedTuple):
    """A decaying geometric mean of seconds, as it was at `at_s`."""

    value_s: float
    weight: float
    at_s: float

    def with_sample(self, sample_s: float, now_s: float) -> "Typical":
        """The mean with one more sample, above zero."""
        weight = self.weight * math.exp2(-max(0.0, now_s - self.at_s) / HALF_LIFE_S)
        change = min(MOST_CHANGE, max(1 / MOST_CHANGE, sample_s / self.value_s))
        value_s = self.value_s * change ** (1 / (weight + 1))
        return Typical(value_s, min(weight + 1, MOST_WEIGHT), now_s)


class Pace(NamedTuple):
    """Of prompts of one length: seconds to the first token and between tokens; None: not measured."""

    first: Typical | None = None
    token: Typical | None = None

    def time_s(self, typical: "Pace", output_tokens: float, known_share: float = 0.0) -> float:
        """Seconds that an answer should take with nothing else under way.

        Args:
            typical: of all miners, for what has not been measured of this one.
            known_share: of the prompt, in the miner's cache: the wait for the first token is so much shorter.
        """
        first = self.first or typical.first
        token = self.token or typical.token
        first_s = first.value_s if first else UNKNOWN_FIRST_S
        token_s = token.value_s if token else UNKNOWN_TOKEN_S
        return first_s * (1 - known_share) + token_s * output_tokens


UNMEASURED = Pace()


class Measured(NamedTuple):
    """What one whole answer told.

    Attributes:
        band: of its prompt's length.
        first_s: to its first token; None for an answer in one piece, or of a prompt that the miner had served
            most of, which says nothing of others.
        rest_s: from then to its end; of an answer in one piece from its beginning.
        tokens: of one choice.
        alongside: other answers of the miner that were under way when it began.
    """

    band: int
    first_s: float | None
    rest_s: float
    tokens: float
    alongside: int
    streamed: bool


def prompt_band(prompt_bytes: int) -> int:
    """The prompt's length in steps of a factor of four, as `validator/comparison.py` has them."""
    return prompt_bytes.bit_length() // 2


def slowdown(alongside: int) -> float:
    """How many times as long as alone an answer takes beside so many others."""
    return 1 + LOAD_SLOWDOWN * alongside


class PaceBook:
    """The paces of one miner, or of all together, by band."""

    def __init__(self) -> None:
        self._by_band: dict[int, Pace] = {}

    def at(self, band: int) -> Pace:
        """The pace with prompts of that band."""
        return self._by_band.get(band, UNMEASURED)

    def add(self, answer: Measured, typical: Pace, now_s: float) -> None:
        """Take in one answer; `typical` is where averages begin that have no answer yet."""
        pace, alone = self.at(answer.band), 1 / slowdown(answer.alongside)
        first, token = pace.first, pace.token
        if answer.first_s is not None and answer.first_s > 0:
            first = _taken_in(first, typical.first, answer.first_s * alone, now_s)
        token_s = _token_s(answer, pace.first or typical.first)
        if token_s is not None:
            token = _taken_in(token, typical.token, token_s * alone, now_s)
        self._by_band[answer.band] = Pace(first, token)


def _taken_in(known: Typical | None, typical: Typical | None, sample_s: float, now_s: float) -> Typical:
    begun = known or (typical and Typical(typical.value_s, 1.0, now_s))
    return begun.with_sample(sample_s, now_s) if begun else Typical(sample_s, 1.0, now_s)


def _token_s(answer: Measured, first: Typical | None) -> float | None:
    """Seconds from token to token; None where the answer doesn't tell."""
    if answer.tokens < MIN_TOKENS:
        return None
    if answer.streamed:
        token_s = answer.rest_s / (answer.tokens - 1)
    else:
        token_s = (
            answer.rest_s - (first.value_s * slowdown(answer.alongside) if first else 0)
        ) / answer.tokens
    return token_s if token_s > 0 else None
