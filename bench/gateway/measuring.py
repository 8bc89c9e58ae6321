"""One measurement of one server: load from outside, CPU time and memory from the kernel."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from bench.gateway.programs import Load, load, request_body
from bench.gateway.servers import Server

WHOLE_TOKENS = 16
WHOLE_CONNECTIONS = 32
CHUNK_STREAMS, CHUNKS = 32, 256
TTFT_CHUNKS = 32
"""Streams of this many chunks begin one after the other, so that first tokens meet others' chunks."""

WARM_UP_S = 0.5
UNBOUNDED = 1_000_000


@dataclass(frozen=True)
class Sample:
    """What one measurement found; None where the test does not measure it."""

    rps: float | None = None
    cpu_us_per_request: float | None = None
    cpu_us_per_chunk: float | None = None
    ttft_ms_p50: float | None = None
    ttft_ms_p99: float | None = None
    rss_mb: float | None = None
    errors: int = 0


class Meter:
    """Measures servers with the compiled load generator."""

    def __init__(self, programs: Path, folder: Path, seconds: float) -> None:
        self._programs, self._folder, self._seconds = programs, folder, seconds

    def measure(self, server: Server, test: str) -> Sample:
        """One measurement by the name of its test."""
        if test == "whole":
            return self._whole(server)
        if test == "chunks":
            return self._chunks(server)
        return self._ttft(server, int(test.removeprefix("ttft-")))

    def _whole(self, server: Server) -> Sample:
        self._load(server, False, WHOLE_TOKENS, WHOLE_CONNECTIONS, seconds=WARM_UP_S)
        found, cpu_s = self._timed(server, False, WHOLE_TOKENS, WHOLE_CONNECTIONS)
        return Sample(
            rps=found.requests / found.seconds,
            cpu_us_per_request=_each_us(cpu_s, found.requests),
            rss_mb=_rss_mb(server),
            errors=found.errors,
        )

    def _chunks(self, server: Server) -> Sample:
        found, cpu_s = self._timed(server, True, CHUNKS, CHUNK_STREAMS)
        return Sample(
            cpu_us_per_chunk=_each_us(cpu_s, found.chunks), rss_mb=_rss_mb(server), errors=found.errors
        )

    def _ttft(self, server: Server, streams: int) -> Sample:
        found, _ = self._timed(server, True, TTFT_CHUNKS, streams)
        return Sample(
            ttft_ms_p50=found.ttft_ms_p50 if found.chunks else None,
            ttft_ms_p99=found.ttft_ms_p99 if found.chunks else None,
            rss_mb=_rss_mb(server),
            errors=found.errors,
        )

    def memory(self, server: Server, requests: int) -> Iterator[tuple[int, float]]:
        """Resident memory, in MiB, after so many requests: at the start and after each tenth."""
        yield 0, _rss_mb(server) or 0.0
        done = 0
        for _ in range(10):
            found = self._load(server, False, WHOLE_TOKENS, WHOLE_CONNECTIONS, requests // 10, seconds=600.0)
            done += found.requests
            yield done, _rss_mb(server) or 0.0

    def _timed(self, server: Server, stream: bool, tokens: int, connections: int) -> tuple[Load, float]:
        before = server.process.cpu_s() if server.process else 0.0
        found = self._load(server, stream, tokens, connections, seconds=self._seconds)
        after = server.process.cpu_s() if server.process else 0.0
        return found, after - before

    def _load(
        self,
        server: Server,
        stream: bool,
        tokens: int,
        connections: int,
        requests: int = UNBOUNDED,
        seconds: float = 0.0,
    ) -> Load:
        body = request_body(self._folder, stream, tokens)
        return load(self._programs, server.port, body, connections, requests, seconds)


def _each_us(cpu_s: float, count: int) -> float | None:
    return cpu_s / count * 1e6 if count and cpu_s else None


def _rss_mb(server: Server) -> float | None:
    return server.process.rss_mb() if server.process else None
