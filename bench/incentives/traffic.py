"""The requests of an epoch, with everything that chance decides about them drawn beforehand.

Every strategy is played against the same requests, noise and faults, so that differences in income come
from strategies alone. Lengths are those that synthetic traffic starts with (`validator/synthetic_prior.py`):
prompts are log-normal and heavy-tailed, answers have 214 tokens on average.
"""

import math
import random
from collections.abc import Sequence
from dataclasses import dataclass

from gateway.dispatch import MAX_RETRIES
from validator.synthetic_prior import PROMPT_CHARS_SIGMA

EPOCH_S = 1500.0
MEDIAN_PROMPT_TOKENS = 90.0
"""A user's 28 tokens, a template, and every second time a system prompt or earlier turns."""
LONGEST_PROMPT = 8192
MEDIAN_OUTPUT_TOKENS, OUTPUT_SIGMA, LONGEST_OUTPUT = 150.0, 0.85, 1024
STREAMED_SHARE = 0.6
SYNTHETIC_SHARE = 0.3
"""Share of requests that the auditor sends itself."""

SPEED_SIGMA = 0.15
"""Answers of one shape differ in speed by about so much: batches, caches and the network change."""
WAIT_SIGMA = 0.3
ATTEMPTS = MAX_RETRIES + 1


@dataclass(frozen=True)
class Arrival:
    """One request of a client, or of the auditor.

    Attributes:
        speed, wait: factors of chance on tokens a second and on the time to the first token.
        faults: uniform draws, one an attempt: a network fault when below the miner's rate of them.
        whim, guess: uniform draws that strategies decide by.
        owner: uniform draw: the request is a flooding miner's own when below its share of the traffic.
        audit_seed: of the scores of an audit of the answer.
    """

    number: int
    at_s: float
    prompt_tokens: int
    output_tokens: int
    streamed: bool
    synthetic: bool
    speed: float
    wait: float
    faults: tuple[float, ...]
    whim: float
    guess: float
    owner: float
    audit_seed: int
    signature: str


def arrivals(count: int, chance: random.Random) -> Sequence[Arrival]:
    """The requests of one epoch in order of time."""
    moments = sorted(chance.random() * EPOCH_S for _ in range(count))
    return [_arrival(number, at_s, chance) for number, at_s in enumerate(moments)]


def _arrival(number: int, at_s: float, chance: random.Random) -> Arrival:
    return Arrival(
        number=number,
        at_s=at_s,
        prompt_tokens=_length(MEDIAN_PROMPT_TOKENS, PROMPT_CHARS_SIGMA, LONGEST_PROMPT, chance),
        output_tokens=_length(MEDIAN_OUTPUT_TOKENS, OUTPUT_SIGMA, LONGEST_OUTPUT, chance),
        streamed=chance.random() < STREAMED_SHARE,
        synthetic=chance.random() < SYNTHETIC_SHARE,
        speed=chance.lognormvariate(0.0, SPEED_SIGMA),
        wait=chance.lognormvariate(0.0, WAIT_SIGMA),
        faults=tuple(chance.random() for _ in range(ATTEMPTS)),
        whim=chance.random(),
        guess=chance.random(),
        owner=chance.random(),
        audit_seed=chance.getrandbits(32),
        signature=f"0x{chance.getrandbits(512):0128x}",
    )


def _length(median: float, sigma: float, longest: int, chance: random.Random) -> int:
    return max(1, min(longest, round(chance.lognormvariate(math.log(median), sigma))))
