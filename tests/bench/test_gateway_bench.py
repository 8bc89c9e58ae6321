"""The compiled programs and the runner, with this gateway alone: bounded, in rows as promised, all ended."""

import json
import shutil
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest

from bench.gateway.config import BenchConfig
from bench.gateway.measuring import Sample
from bench.gateway.programs import build, load, request_body, upstream
from bench.gateway.rows import rows_of, table
from bench.gateway.run import run
from shared.errors import ConfigError

needs_compiler = pytest.mark.skipif(shutil.which("gcc") is None, reason="gcc is not installed")


@needs_compiler
def test_the_upstream_answers_whole_and_in_streams_and_the_load_counts_both(tmp_path: Path) -> None:
    programs = build(tmp_path)
    with upstream(programs, tmp_path, "5Hotkey", interval_ms=1.0) as port:
        whole = load(programs, port, request_body(tmp_path, False, 4), 3, 30, 60.0)
        streamed = load(programs, port, request_body(tmp_path, True, 5), 3, 30, 60.0)
    assert (whole.requests, whole.errors, whole.chunks) == (30, 0, 0)
    assert (streamed.requests, streamed.errors, streamed.chunks) == (30, 0, 150)


@needs_compiler
def test_what_is_not_answered_counts_as_an_error(tmp_path: Path) -> None:
    programs = build(tmp_path)
    with ThreadingHTTPServer(("127.0.0.1", 0), BaseHTTPRequestHandler) as refusing:
        thread = Thread(target=refusing.serve_forever)
        thread.start()
        refused = load(programs, refusing.server_port, request_body(tmp_path, False, 4), 1, 2, 60.0)
        refusing.shutdown()
        thread.join()
    assert (refused.requests, refused.errors) == (0, 2)


@needs_compiler
def test_this_gateway_is_measured_and_stopped(tmp_path: Path) -> None:
    said: list[str] = []
    tests = ("whole", "chunks", "ttft-1", "memory")
    config = BenchConfig(
        servers=("direct", "gateway"),
        test=tests,
        rounds=1,
        seconds=2.0,
        requests=100,
        folder=tmp_path,
        json=tmp_path / "rows.json",
    )
    run(config, said.append)
    rows = {(row["server"], row["test"]): row for row in json.loads((tmp_path / "rows.json").read_text())}
    assert rows["gateway", "whole"]["rps"] > 0
    assert rows["gateway", "whole"]["cpu_us_per_request"] > 0
    assert rows["gateway", "chunks"]["cpu_us_per_chunk"] > 0
    assert rows["gateway", "ttft-1"]["added_ttft_ms_p50"] is not None
    assert rows["gateway", "memory-100"]["rss_mb"] > 0
    assert all(rows[place].get("errors", 0) == 0 for place in rows)
    commands = [_read(process / "cmdline") for process in Path("/proc").glob("[0-9]*")]
    assert not any(str(tmp_path).encode() in command for command in commands), "all are stopped"


def _read(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except OSError:
        return b""


@pytest.mark.parametrize("wrong", [{"servers": ("apache",)}, {"test": ("speed",)}])
def test_an_unknown_name_lists_those_that_there_are(tmp_path: Path, wrong: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match="there are"):
        run(BenchConfig(folder=tmp_path, **wrong), print)


def test_rows_hold_medians_and_added_time_is_against_the_same_round() -> None:
    samples = {
        ("direct", "ttft-1"): [Sample(ttft_ms_p50=t) for t in (1.0, 5.0, 2.0)],
        ("gateway", "ttft-1"): [Sample(ttft_ms_p50=t, rss_mb=90.0) for t in (1.5, 9.0, 2.2)],
    }
    direct, gateway = rows_of(samples)
    assert (direct["added_ttft_ms_p50"], gateway["added_ttft_ms_p50"]) == (0.0, 0.5)
    assert gateway["rps"] is None
    assert "0.50" in table([direct, gateway]).splitlines()[2]
