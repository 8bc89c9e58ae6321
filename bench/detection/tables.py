"""The tables as they are printed, published and handed on."""

from collections.abc import Sequence
from statistics import mean
from typing import Any

from bench.detection.kinds import Kinds
from bench.detection.measuring import Measured
from bench.detection.power import RESAMPLED_RUNS, Power, upper_bound
from bench.detection.rows import Row

CHEAT_HEAD = (
    "cheat", "audits", "caught by one audit", "audits until rejected: median", "95 %",
    "best single bet", "until it costs weight", "caught by", "what it gains or pays",
)  # fmt: skip
HONEST_HEAD = (
    "honest engine", "audits", "false alarms", "upper bound (95 %)", "runs of 200 audits rejected",
    "tokens exact", "ln e: mean, largest", "mean e of tokens",
)  # fmt: skip


KINDS_HEAD = (
    "cheat", "caught by two points", "by all 32 points alone", "by tokens alone", "tokens of an audit",
    "exact tokens",
)  # fmt: skip


def kinds_cells(name: str, found: Kinds) -> list[str]:
    """What each kind of evidence shows by itself, for people."""
    return [
        name,
        _share(found.two_points),
        _share(found.sketches),
        _share(found.tokens),
        f"{found.checked:.0f}",
        _share(found.exact),
    ]


def _share(value: float | None) -> str:
    return "–" if value is None else f"{value:.1%}"


def cheat_json(row: Row, found: Power) -> dict[str, Any]:
    """A cheat's row for programs."""
    return {
        "cheat": row.name,
        "requests": found.audits,
        "caught_by_one_audit": round(found.caught, 4),
        "audits_median": found.median,
        "audits_p95": found.p95,
        "caught_by": ", ".join(found.checks),
        "audits_until_weight_is_lost_median": found.costs_weight,
        "audits_at_best": round(found.at_best.audits, 2) if found.at_best else None,
        "nats_an_audit": round(found.at_best.nats, 3) if found.at_best else None,
        "best_explained_by": found.at_best.family if found.at_best else None,
    }


def honest_json(row: Row, measured: Measured, found: Power) -> dict[str, Any]:
    """An honest row for programs."""
    alarms = sum(one.outcome == "fail" for one in measured.verdicts)
    return cheat_json(row, found) | {
        "false_alarms": alarms,
        "upper_bound_95": upper_bound(alarms, found.audits),
        "rejected_runs": found.rejected,
    }


def cheat_cells(row: Row, found: Power) -> list[str]:
    """A cheat's row for people."""
    return [
        row.name,
        str(found.audits),
        f"{found.caught:.1%}",
        _count(found.median),
        _count(found.p95),
        f"{found.at_best.audits:.1f}" if found.at_best else "–",
        _count(found.costs_weight),
        ", ".join(found.checks) or "–",
        row.economy,
    ]


def honest_cells(name: str, measured: Measured, found: Power) -> list[str]:
    """An honest row for people."""
    alarms = sum(one.outcome == "fail" for one in measured.verdicts)
    checked = sum(one.tokens.checked for one in measured.verdicts if one.tokens)
    exact = sum(one.tokens.exact for one in measured.verdicts if one.tokens)
    log_es = [one.log_e for one in measured.verdicts]
    of_tokens = [
        one.score for verdict in measured.verdicts for one in verdict.evidence if one.statistic == "tokens"
    ]
    return [
        name,
        str(len(measured.verdicts)),
        str(alarms),
        f"{upper_bound(alarms, len(measured.verdicts)):.2%}",
        f"{found.rejected} of {RESAMPLED_RUNS}",
        f"{exact / max(checked, 1):.2%} of {checked}",
        f"{mean(log_es):+.2f}, {max(log_es):+.2f}",
        f"{mean(of_tokens):.2f}" if of_tokens else "–",
    ]


def _count(value: int | None) -> str:
    return "never" if value is None else str(value)


def markdown(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)
