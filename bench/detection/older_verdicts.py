"""Measured verdicts of an older form, as today's: a benchmark of hours need not be made again."""

import json
from typing import Any

from validator.alternative_names import STEPS
from validator.sampler_alternatives import temperatures
from validator.sampling_rules import SamplingRule

OLDER, TODAY = "verdict/3", "verdict/4"
"""The older form named temperatures by their value and weighed no families, as `reweighed` does."""

_PREFIX = "at temperature "


def as_today(measured: bytes) -> bytes:
    """A file of measured verdicts with those of the older form as today's; any other file as it is."""
    if f'"{OLDER}"'.encode() not in measured:
        return measured
    file = json.loads(measured)
    file["verdicts"] = [_verdict(one) if one["version"] == OLDER else one for one in file["verdicts"]]
    return json.dumps(file).encode()


def _verdict(older: dict[str, Any]) -> dict[str, Any]:
    tokens = older["tokens"]
    if tokens:
        fits = tokens["alternatives"]
        today = _names_today([one["name"] for one in fits])
        renamed = [one | {"name": today.get(one["name"], one["name"])} for one in fits]
        tokens = tokens | {"alternatives": renamed}
    return older | {"version": TODAY, "tokens": tokens}


def _names_today(older: list[str]) -> dict[str, str]:
    """Today's names of the temperatures among one request's alternatives, by older name.

    The request's own temperature is the one that has just these alternatives; one of them is a step above it.
    """
    listed = {name for name in older if name.startswith(_PREFIX)}
    values = [float(name.removeprefix(_PREFIX)) for name in listed]
    for asked in (0.0, *(round(value - max(STEPS), 6) for value in values)):
        rule = SamplingRule(temperature=asked, seed=0)
        today = {f"{_PREFIX}{one:g}": name for one, name in temperatures(rule).items()}
        if set(today) == listed:
            return today
    return {}
