"""When the next synthetic request is sent, and to whom: pure functions of what miners have answered lately.

Gaps are exponential, as those of many independent clients are, and nothing in them knows of epochs, blocks or
turns of a loop. A miner with c answers in the last window W gets requests at the rate (2·target − c) / W.
That is a system of 2·target sources, each of which comes back on average W after its last answer has left the
window (Engset's model): in the long run c is binomial(2·target, ½), whatever the phase of the epoch. For a
target of 12 a window has fewer than 5 answers with a probability of 0.0008, where a constant rate would need
16 requests. Organic answers count: from 2·target of them on a miner gets no synthetic request at all.
"""

import random
from collections.abc import Mapping

SOURCES_PER_TARGET = 2
"""Sources for each wanted answer: fewer would make gaps regular, more would make counts uneven."""


def needed_rate(answers: int, target: int, window_s: float) -> float:
    """Requests a second that a miner needs, given its answers in the last `window_s` seconds."""
    return max(0, SOURCES_PER_TARGET * target - answers) / window_s


def next_request(
    rates: Mapping[str, float], longest_s: float, chance: random.Random
) -> tuple[float, str | None]:
    """(seconds to wait, whom to send to then).

    After `longest_s` nobody is to be sent to, and it is drawn again: an exponential gap does not remember how
    long it has lasted, so this changes nothing but that newer rates are used.
    """
    total = sum(rates.values())
    gap_s = chance.expovariate(total) if total > 0 else longest_s
    if gap_s >= longest_s:
        return longest_s, None
    return gap_s, chance.choices(list(rates), list(rates.values()))[0]
