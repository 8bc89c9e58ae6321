"""What audits see of each way to cheat, and what it gains: the benchmark's one table of assumptions.

Rows have the names of the rows that `python -m bench.detection` measures. An audit of a cheat has three
honest statistics and one that tells; the table gives the distribution of that one's p-value.
"""

from dataclasses import dataclass

from validator.evidence import PROVEN_LOG_E, UNANSWERED_LOG_E
from validator.verdicts import Statistic


@dataclass(frozen=True)
class Cheat:
    """Another computation than was asked for, seen through its noise.

    Attributes:
        row: its name in `python -m bench.detection`.
        statistic: the one that tells.
        p_value: that statistic's median over audits.
        decades: standard deviation of its log10 over audits.
        speed: output tokens a second, ÷ the honest ones of the same machine.
    """

    row: str
    statistic: Statistic
    p_value: float
    decades: float
    speed: float


@dataclass(frozen=True)
class Exposed:
    """A cheat whose audit fails for certain, and what that counts (`validator.evidence`)."""

    row: str
    log_e: float
    speed: float


Trace = Cheat | Exposed | None
"""What an audit of an answer would find; None: an honest answer."""

INT4 = Cheat("int4", "typical", 2e-16, 0.4, 3.0)
FP8 = Cheat("fp8", "typical", 2e-9, 0.6, 1.8)
INT8 = Cheat("int8", "typical", 1e-5, 0.5, 1.6)
NOISE = Cheat("noise-0.3", "typical", 7e-2, 0.6, 1.0)
PREFILL = Cheat("prefill-attack", "tokens", 7e-17, 10.6, 2.5)
"""Medians and spreads of `python -m bench.detection --rows cheats --requests 16`."""

UNANSWERED = Exposed("late-computation", UNANSWERED_LOG_E, INT4.speed)
"""Serves 4-bit weights, and does not answer the challenge, or too late."""
UNOPENED = Exposed("refuse-unknown", PROVEN_LOG_E, INT4.speed)
"""Serves 4-bit weights, and opens only what it knows: a committed point that stays closed is proof."""

CHEATS = (INT4, FP8, INT8, NOISE, PREFILL)
"""Speeds are bounds of what memory traffic allows: decoding is bound by reading weights, so a quarter of the
bytes is at most four times as fast, half of them twice; kernels reach about three quarters of it. The
prefill attack writes with a model of a quarter of the size, and pays the true one's prefill."""
