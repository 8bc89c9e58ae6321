"""The requests of an epoch, with everything that chance decides about them drawn beforehand.

Every strategy is played against the same requests, noise and faults, so that differences in income come
from strategies alone. Lengths are those that synthetic traffic starts with (`validator/synthetic_prior.py`):
prompts are log-normal and heavy-tailed, answers have 214 tokens on average.
"""

import math
import random
from collections.abc import Sequence
from dataclasses import dataclass, replace

from gateway.admission import TRUSTED_NAMES
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

CLIENTS = 100
CLIENT_SHARES = tuple(1 / (place + 1) for place in range(CLIENTS))
"""Clients' shares of organic requests, ÷ their sum (Zipf): the largest sends a fifth, the smallest 0.2 %."""

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
        client: who asks, unless the request is a flooding miner's own; the auditor has many names.
        owner: uniform draw: the request is a flooding miner's own when below its share of the traffic.
        audit_seed: of the scores of an audit of the answer.
        pressed: whether it is one of many in a row, as in a round that asks everybody.
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
    client: str
    audit_seed: int
    signature: str
    pressed: bool = False


def arrivals(count: int, chance: random.Random) -> Sequence[Arrival]:
    """The requests of one epoch in order of time."""
    moments = sorted(chance.random() * EPOCH_S for _ in range(count))
    return [
        arrival(number, at_s, chance, synthetic=chance.random() < SYNTHETIC_SHARE)
        for number, at_s in enumerate(moments)
    ]


def arrival(number: int, at_s: float, chance: random.Random, synthetic: bool) -> Arrival:
    """One request, everything else about it drawn."""
    drawn = Arrival(
        number=number,
        at_s=at_s,
        prompt_tokens=_length(MEDIAN_PROMPT_TOKENS, PROMPT_CHARS_SIGMA, LONGEST_PROMPT, chance),
        output_tokens=_length(MEDIAN_OUTPUT_TOKENS, OUTPUT_SIGMA, LONGEST_OUTPUT, chance),
        streamed=chance.random() < STREAMED_SHARE,
        synthetic=synthetic,
        speed=chance.lognormvariate(0.0, SPEED_SIGMA),
        wait=chance.lognormvariate(0.0, WAIT_SIGMA),
        faults=tuple(chance.random() for _ in range(ATTEMPTS)),
        whim=chance.random(),
        guess=chance.random(),
        owner=chance.random(),
        client="",
        audit_seed=chance.getrandbits(32),
        signature=f"0x{chance.getrandbits(512):0128x}",
    )
    return replace(drawn, client=_client(drawn))


def _client(drawn: Arrival) -> str:
    """Drawn by the signature, so that it costs no draw that strategies are compared by."""
    chance = random.Random(drawn.signature)
    if drawn.synthetic:
        return f"auditor {chance.randrange(TRUSTED_NAMES)}"
    return f"client {chance.choices(range(CLIENTS), CLIENT_SHARES)[0]}"


def _length(median: float, sigma: float, longest: int, chance: random.Random) -> int:
    return max(1, min(longest, round(chance.lognormvariate(math.log(median), sigma))))
