"""Flags of the benchmark. Imports nothing heavy, so that `--help` answers at once."""

from dataclasses import dataclass
from pathlib import Path

from shared.config import at_least, between, setting

PROJECT_ROOT = Path(__file__).resolve().parent.parent.parent
SERVERS = ("direct", "nginx", "litellm", "vllm-router", "gateway")
TESTS = ("whole", "chunks", "ttft-1", "ttft-32", "ttft-256", "memory")
DESCRIPTION = (
    "Measure what gateways add to a request before the same compiled upstream, in turn, one core each: "
    "requests/s, CPU time per request and per streamed chunk, added time to the first token, memory."
)


@dataclass(frozen=True)
class BenchConfig:
    """What is measured, and where it goes."""

    servers: tuple[str, ...] = setting(SERVERS, f"servers to compare: {', '.join(SERVERS)}")
    test: tuple[str, ...] = setting(TESTS[:-1], f"what to measure: {', '.join(TESTS)}")
    rounds: int = setting(3, "rounds; each measures every server once, in turn", at_least(1))
    seconds: float = setting(5.0, "seconds of each measurement at most", between(0.2, 600))
    requests: int = setting(100_000, "requests of the test memory", at_least(100))
    workers: int = setting(1, "worker processes of this gateway", between(1, 64))
    interval_ms: float = setting(20.0, "pause between two chunks of a stream", between(0.1, 10_000))
    folder: Path = setting(
        PROJECT_ROOT / ".localnet" / "bench" / "gateway", "where programs, other servers and logs are kept"
    )
    json: Path | None = setting(None, "also write the rows to this file, as JSON")
