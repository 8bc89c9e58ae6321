"""From honest tokens to a bound on how likely an honest miner misses what the reference draws.

The token that the reference draws leads the next one by some logits; numerical noise that is larger puts the
other in its place. That probability is taken to fall with the lead x as

    P(x) = ½ (1 + x / s)^−k,

one half where two tokens are level, and a power law far out, so heavier than measured noise. s and k are
fitted by maximum likelihood; what audits use is the largest P of all (s, k) that the data do not rule out.
"""

import math
from bisect import bisect_left
from collections.abc import Sequence
from itertools import chain

from shared.errors import ModelError
from shared.honest_noise import MARGIN_EDGES, HonestMargins
from validator.token_reading import TokenReading

SCALES = tuple(2.0 ** (step / 4) for step in range(-40, 9))
"""Values of s that are tried, in logits: from 2⁻¹⁰ to 4."""

EXPONENTS = tuple(1.5 + step / 4 for step in range(19))
"""Values of k: from 1.5 to 6. A sharper fall is not believed, however the fit comes out."""

NOT_RULED_OUT = 1.92
"""Half the 95 % quantile of χ² with one degree of freedom: how much less likely than the best fit a pair of
(s, k) may make the data (Wilks, 1938)."""

LEAST_PROBABILITY = 1e-8
"""No bound is below it, however large the margin: machines have faults."""

RESEMBLES = 0.5
"""Conditions that miss at least this much of what the noisiest one does are fitted together: a float32
engine, which hardly ever misses, must not make a bfloat16 one look strange."""

_STEPS = tuple(2.0 ** (step / 4) for step in range(-48, 29))
"""Leads are counted up to each of these, beyond the last one with it: the fit needs them no finer."""


def fit_margins(conditions: Sequence[Sequence[TokenReading]]) -> HonestMargins:
    """The bound, fitted on the readings of each condition's requests.

    Raises:
        ModelError: no token was checked.
    """
    shares = [_missed(readings) for readings in conditions]
    noisy = [
        readings
        for readings, share in zip(conditions, shares, strict=True)
        if share >= RESEMBLES * max(shares)
    ]
    readings = list(chain(*noisy))
    tokens = sum(len(reading.margins) for reading in readings)
    if not tokens:
        raise ModelError("no output token could be checked against the sampler; serve with this miner")
    kept, missed = _counts(readings)
    fits = {(scale, k): _log_likelihood(kept, missed, scale, k) for scale in SCALES for k in EXPONENTS}
    best = max(fits, key=lambda pair: fits[pair])
    possible = [pair for pair, fit in fits.items() if fit >= fits[best] - NOT_RULED_OUT]
    return HonestMargins(
        scale=best[0],
        exponent=best[1],
        above=tuple(
            max(LEAST_PROBABILITY, *(miss_probability(edge, *pair) for pair in possible))
            for edge in MARGIN_EDGES
        ),
        tokens=tokens,
    )


def miss_probability(lead: float, scale: float, exponent: float) -> float:
    """P at a lead, both in logits."""
    return float(0.5 * (1 + lead / scale) ** -exponent)


def _missed(readings: Sequence[TokenReading]) -> float:
    margins = [margin for reading in readings for margin in reading.margins]
    return sum(margin > 0 for margin in margins) / max(len(margins), 1)


def _counts(readings: Sequence[TokenReading]) -> tuple[list[int], list[int]]:
    """Tokens that the reference draws too, by their lead, and missed ones by their margin."""
    kept, missed = [0] * len(_STEPS), [0] * len(_STEPS)
    for reading in readings:
        for margin, lead in zip(reading.margins, reading.leads, strict=True):
            if margin > 0:
                missed[_step(margin)] += 1
            else:
                kept[_step(lead)] += 1
    return kept, missed


def _step(logits: float) -> int:
    """What is counted with a larger lead makes the fitted law fall less, so no bound is too low for it."""
    return min(bisect_left(_STEPS, logits), len(_STEPS) - 1)


def _log_likelihood(kept: Sequence[int], missed: Sequence[int], scale: float, exponent: float) -> float:
    total = 0.0
    for lead, stayed, left in zip(_STEPS, kept, missed, strict=True):
        if stayed or left:
            probability = miss_probability(lead, scale, exponent)
            total += stayed * math.log1p(-probability) + left * math.log(probability)
    return total
