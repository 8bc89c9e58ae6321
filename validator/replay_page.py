"""A replay's findings as one page for people, and as JSON for programs."""

import textwrap
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from validator.replay_report import CHECKS, CheckResult, ReplayReport, State

PAGE_COLUMNS = 110
NAME_COLUMNS = 15

MOST_LINES = 5
"""Results of one check that are written out; the JSON has all."""

_STATES: dict[State, str] = {"holds": "holds", "fails": "DOES NOT HOLD", "unchecked": "not checked"}


def page(report: ReplayReport) -> str:
    """The page."""
    lines = [_headline(report), ""]
    for name in CHECKS:
        for number, words in enumerate(_lines(report.of(name))):
            lines += _wrapped(name if number == 0 else "", words)
    lines += ["", _conclusion(report)]
    return "\n".join(lines)


def as_json(report: ReplayReport) -> dict[str, Any]:
    """The same, whole."""
    return {
        "source": report.source,
        "publisher": report.publisher,
        "epochs": report.epochs,
        "sound": report.sound,
        "checks": [asdict(one) for one in report.results],
        "repeated": [
            {"epoch": epoch, "request_id": request_id, "miner_hotkey": hotkey}
            for epoch, request_id, hotkey in report.repeated
        ],
    }


def _headline(report: ReplayReport) -> str:
    epochs = report.epochs
    if not epochs:
        return f"No epoch of {report.source} could be replayed"
    which = f"epoch {epochs[0]}" if len(epochs) == 1 else f"epochs {epochs[0]} to {epochs[-1]}"
    return f"Replay of {which} from {report.source}, published by {report.publisher}"


def _lines(results: Sequence[CheckResult]) -> list[str]:
    """What fails comes first, epoch by epoch; what holds in several epochs is told of the newest."""
    lines: list[str] = []
    for state in ("fails", "unchecked", "holds"):
        found = [one for one in results if one.state == state]
        if not found:
            continue
        if state == "fails":
            lines += [f"{_STATES[state]}: {_of_epoch(one, len(results))}" for one in found[:MOST_LINES]]
            if len(found) > MOST_LINES:
                lines.append(f"{_STATES[state]}: and {len(found) - MOST_LINES} more; --json FILE has all")
        elif len(found) == 1:
            lines.append(f"{_STATES[state]}: {_of_epoch(found[0], len(results))}")
        else:
            lines.append(f"{_STATES[state]} in {len(found)} epochs; {_of_epoch(found[-1], len(results))}")
    return lines


def _of_epoch(result: CheckResult, results: int) -> str:
    if result.epoch is None or results == 1:
        return result.words
    return f"epoch {result.epoch}: {result.words}"


def _wrapped(name: str, words: str) -> list[str]:
    indent = " " * NAME_COLUMNS
    first = f"{name:<{NAME_COLUMNS}}"
    return textwrap.wrap(
        words, PAGE_COLUMNS, initial_indent=first, subsequent_indent=indent, break_long_words=False
    )


def _conclusion(report: ReplayReport) -> str:
    names = list(dict.fromkeys(one.name for one in report.results if one.state == "fails"))
    missing = list(dict.fromkeys(one.name for one in report.results if one.state == "unchecked"))
    rest = f" Not checked: {', '.join(missing)}." if missing else ""
    if names:
        return f"DOES NOT HOLD: {', '.join(names)}.{rest}"
    return f"Everything that was checked holds.{rest}"
