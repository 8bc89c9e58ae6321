"""The tables as they are printed and handed on."""

from collections.abc import Sequence
from typing import Any

from bench.incentives.batches import SHORTEST_BATCH, batches_of, certain_errors
from bench.incentives.cheats import CHEATS
from bench.incentives.measuring import Earned, Luck, SpeedIncome, slope

STRATEGY_HEAD = (
    "threat", "strategy", "income ÷ honest", "± error", "later half", "best epoch", "unpaid", "audits",
    "what it does",
)  # fmt: skip
HARM_HEAD = ("honest miner", "income ÷ faultless", "± error", "epochs lost", "unpaid", "what happens")
SPEED_HEAD = ("speed", "income", "from proportional")
CHEAT_HEAD = ("cheat", "statistic that tells", "its p-value", "decades", "speed")


def earned_json(one: Earned) -> dict[str, Any]:
    """A strategy's row for programs."""
    return {
        "strategy": one.strategy.name,
        "threat": one.strategy.threat,
        "income_vs_honest": round(one.income, 4),
        "error": None if one.error is None else round(one.error, 4),
        "later_half": round(one.late_income, 4),
        "best_epoch": round(one.best_epoch, 4),
        "unpaid_epochs": one.played.unpaid,
        "registrations": one.played.registrations,
        "audits": one.played.audits,
        "pays": one.pays,
    }


def strategy_cells(one: Earned) -> list[str]:
    """A strategy's row for people."""
    return [
        str(one.strategy.threat),
        one.strategy.name,
        f"{one.income:.3f}" + (" PAYS" if one.pays else ""),
        _error(one),
        f"{one.late_income:.3f}",
        f"{one.best_epoch:.2f}",
        f"{one.played.unpaid} of {len(one.played.incomes[0])}",
        str(one.played.audits),
        one.strategy.summary,
    ]


def harm_cells(one: Earned) -> list[str]:
    """An honest miner's row for people."""
    return [
        one.strategy.name,
        f"{one.income:.3f}",
        _error(one),
        f"{one.lost_epochs:.1f}",
        f"{one.played.unpaid} of {len(one.played.incomes[0])}",
        one.strategy.summary,
    ]


def error_words(epochs: int) -> str:
    """How the tables' errors are made, and what it takes to pay."""
    batches = batches_of(epochs)
    if batches < 2:
        return (
            f"± error is not known: rates average up to {SHORTEST_BATCH} epochs, so that it takes "
            f"{2 * SHORTEST_BATCH} epochs or more to tell luck from pay; no row is called PAYS"
        )
    return (
        f"± error is the standard error by {batches} batches of {epochs // batches} epochs or more, because "
        f"rates average up to {SHORTEST_BATCH}; PAYS is above 1 by more than {certain_errors(batches):.1f} "
        f"of them (Student's t, degrees of freedom: {batches - 1})"
    )


def _error(one: Earned) -> str:
    return "-" if one.error is None else f"{one.error:.3f}"


def speed_cells(one: SpeedIncome) -> list[str]:
    """An honest machine's row."""
    return [f"{one.speed:.2f}", f"{one.income:.2f}", f"{one.deviation:+.1%}"]


def cheat_lines() -> list[list[str]]:
    """What was assumed of each cheat."""
    return [
        [one.row, one.statistic, f"{one.p_value:.0e}", f"{one.decades:g}", f"{one.speed:g}"] for one in CHEATS
    ]


def speed_words(points: Sequence[SpeedIncome]) -> str:
    """Income against speed in one sentence."""
    largest = max(points, key=lambda one: abs(one.deviation))
    return (
        f"honest income against speed: slope {slope(points):.3f} of ln income over ln speed; farthest from "
        f"proportional {largest.deviation:+.1%}, at {largest.speed:g} times the slowest"
    )


def link_words(epochs: int, false: int) -> str:
    """How often rounds of probes wronged honest miners."""
    return f"honest neighbours taken to share a machine: in {false} of {epochs} epochs without any that does"


def slowness_words(epochs: int, false: int) -> str:
    """How often luck made an honest miner look slow in full rounds; `epochs` of all of them, summed."""
    told = "honest neighbours told that they are slow while all are asked"
    return f"{told}: in {false} of their {epochs} epochs"


def luck_words(found: Luck) -> str:
    """Two identical miners in one sentence."""
    return (
        f"two identical honest miners with {found.answers:.0f} answers an epoch are apart by "
        f"{found.median:.1%} at the median, {found.p95:.1%} in 95 % of epochs, {found.largest:.1%} at most"
    )
