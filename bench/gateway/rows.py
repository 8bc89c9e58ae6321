"""From samples of several rounds to one row per server and test: medians."""

import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from bench.gateway.measuring import Sample
from bench.plain_table import plain

Samples = Mapping[tuple[str, str], Sequence[Sample]]
"""By server and test."""


def rows_of(samples: Samples) -> list[dict[str, Any]]:
    """Rows for the JSON file. Added time to the first token is against the direct way in the same round."""
    return [_row(server, test, found, samples) for (server, test), found in samples.items()]


def _row(server: str, test: str, found: Sequence[Sample], samples: Samples) -> dict[str, Any]:
    direct = samples.get(("direct", test), [])
    return {
        "server": server,
        "test": test,
        "rps": _median([one.rps for one in found]),
        "cpu_us_per_request": _median([one.cpu_us_per_request for one in found]),
        "cpu_us_per_chunk": _median([one.cpu_us_per_chunk for one in found]),
        "added_ttft_ms_p50": _added([one.ttft_ms_p50 for one in found], [one.ttft_ms_p50 for one in direct]),
        "added_ttft_ms_p99": _added([one.ttft_ms_p99 for one in found], [one.ttft_ms_p99 for one in direct]),
        "rss_mb": _median([one.rss_mb for one in found]),
        "errors": sum(one.errors for one in found),
    }


def _median(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return round(statistics.median(known), 3) if known else None


def _added(values: Sequence[float | None], direct: Sequence[float | None]) -> float | None:
    pairs = zip(values, direct, strict=False)
    return _median([one - base for one, base in pairs if one is not None and base is not None])


def table(rows: Sequence[Mapping[str, Any]]) -> str:
    """The rows as people read them: one line a server."""
    by_place = {(row["server"], row["test"]): row for row in rows}
    tests = list(dict.fromkeys(row["test"] for row in rows))
    head, lines = ["server", *(name for test in tests for name in _heads(test)), "MiB", "errors"], []
    for server in dict.fromkeys(row["server"] for row in rows):
        own = [by_place[server, test] for test in tests]
        cells = [cell for test, row in zip(tests, own, strict=True) for cell in _cells(test, row)]
        memory = max((row["rss_mb"] for row in own if row["rss_mb"] is not None), default=None)
        errors = str(sum(row["errors"] for row in own))
        lines.append([server, *cells, _shown(memory, 0), errors])
    return plain(head, lines)


def _heads(test: str) -> list[str]:
    if test == "whole":
        return ["requests/s", "µs/request"]
    if test == "chunks":
        return ["µs/chunk"]
    streams = test.removeprefix("ttft-")
    return [f"+TTFT p50 at {streams}", "p99, ms"]


def _cells(test: str, row: Mapping[str, Any]) -> list[str]:
    if test == "whole":
        return [_shown(row["rps"], 0), _shown(row["cpu_us_per_request"], 0)]
    if test == "chunks":
        return [_shown(row["cpu_us_per_chunk"], 1)]
    return [_shown(row["added_ttft_ms_p50"], 2), _shown(row["added_ttft_ms_p99"], 2)]


def _shown(value: float | None, digits: int) -> str:
    return "" if value is None else f"{value:.{digits}f}"
