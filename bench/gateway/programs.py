"""The compiled programs: the upstream that answers at once, and the load generator."""

import json
import re
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.gateway.processes import BenchError, on_core, running

SOURCES = Path(__file__).resolve().parent
MODEL = "bench/model"
START_S = 10.0
LOAD_CORE = 1
"""The upstream and the load generator share a core: what is measured has the other one to itself."""

PROMPT = (
    "Tell me about the city on two continents, its walls, its harbours and the people who live there. " * 8
)


@dataclass(frozen=True)
class Load:
    """What the load generator saw; times in milliseconds.

    Attributes:
        chunks: streamed words that arrived.
        unfinished: requests under way when the time was up.
    """

    requests: int
    errors: int
    unfinished: int
    seconds: float
    chunks: int
    ttft_ms_p50: float
    ttft_ms_p99: float
    latency_ms_p50: float
    latency_ms_p99: float


def build(folder: Path) -> Path:
    """Compile; gives the folder of the programs.

    Raises:
        BenchError: there is no compiler, or it refuses.
    """
    if shutil.which("make") is None or shutil.which("gcc") is None:
        raise BenchError("the upstream and the load generator are C: install gcc and make")
    programs = folder / "bin"
    made = subprocess.run(
        ["make", "-s", "-C", str(SOURCES), f"OUT={programs}", "CC=gcc"],
        capture_output=True,
        text=True,
        check=False,
    )
    if made.returncode:
        raise BenchError(f"compiling the upstream failed: {made.stderr.strip()}")
    return programs


@contextmanager
def upstream(programs: Path, folder: Path, hotkey: str, interval_ms: float) -> Iterator[int]:
    """A running upstream; gives its port."""
    command = [str(programs / "upstream"), "--model", MODEL, "--hotkey", hotkey]
    command += ["--interval-us", str(int(interval_ms * 1000))]
    with running("upstream", command, folder, LOAD_CORE) as process:
        deadline = time.monotonic() + START_S
        while not (found := re.search(r"listening on (\d+)", process.log())):
            process.check()
            if time.monotonic() > deadline:
                raise BenchError("the upstream does not start")
            time.sleep(0.02)
        yield int(found[1])


def request_body(folder: Path, stream: bool, tokens: int) -> Path:
    """A file with the body of a chat request of some 200 prompt tokens."""
    fields: dict[str, Any] = {
        "model": MODEL,
        "messages": [{"role": "system", "content": "Answer briefly."}, {"role": "user", "content": PROMPT}],
        "max_tokens": tokens,
        "temperature": 0.7,
        "stream": stream,
    }
    file = folder / f"{'stream' if stream else 'whole'}-{tokens}.json"
    file.write_text(json.dumps(fields))
    return file


def load(programs: Path, port: int, body: Path, connections: int, requests: int, seconds: float) -> Load:
    """Run the load generator to its end.

    Raises:
        BenchError: it could not connect.
    """
    command = [*on_core(LOAD_CORE), str(programs / "load"), "--port", str(port), "--body", str(body)]
    command += ["--connections", str(connections), "--requests", str(requests), "--seconds", str(seconds)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise BenchError(f"the load generator failed: {done.stderr.strip()}")
    return Load(**json.loads(done.stdout))
