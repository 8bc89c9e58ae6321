"""The whole benchmark: servers up, rounds in turn, a table, everything down."""

import json
import os
from collections import defaultdict
from collections.abc import Callable
from contextlib import ExitStack
from typing import Any

from bench.gateway.config import SERVERS, TESTS, BenchConfig
from bench.gateway.measuring import Meter, Sample
from bench.gateway.programs import build, upstream
from bench.gateway.rows import rows_of, table
from bench.gateway.servers import STARTERS, NotInstalled, Server, Site
from localnet.wallets import create_party
from shared.errors import ConfigError

Say = Callable[[str], None]


def run(config: BenchConfig, say: Say) -> list[dict[str, Any]]:
    """Measure what the flags ask for; gives the rows.

    Raises:
        ConfigError: a server or test is unknown.
        BenchError: a server does not start, or there is no compiler.
    """
    _check(config)
    config.folder.mkdir(parents=True, exist_ok=True)
    programs = build(config.folder)
    hotkey = create_party("bench-miner", config.folder / "wallets").hotkey
    with ExitStack() as stack:
        port = stack.enter_context(upstream(programs, config.folder, hotkey, config.interval_ms))
        site = Site(config.folder, port, hotkey, config.workers)
        servers = _start(config, site, stack, say)
        meter = Meter(programs, config.folder, config.seconds)
        rows = _rounds(config, servers, meter, say)
        if "memory" in config.test:
            rows += _memory(config, servers, meter, say)
    if config.json:
        config.json.write_text(json.dumps(rows, indent=1))
    return rows


def _check(config: BenchConfig) -> None:
    for asked, known, what in ((config.servers, SERVERS, "server"), (config.test, TESTS, "test")):
        for name in asked:
            if name not in known:
                raise ConfigError(f"there is no {what} {name!r}; there are {', '.join(known)}")


def _start(config: BenchConfig, site: Site, stack: ExitStack, say: Say) -> list[Server]:
    servers = []
    for name in config.servers:
        say(f"starting {name} …")
        try:
            servers.append(stack.enter_context(STARTERS[name](site)))
        except NotInstalled as missing:
            say(f"{name} is left out: {missing}")
    return servers


def _rounds(config: BenchConfig, servers: list[Server], meter: Meter, say: Say) -> list[dict[str, Any]]:
    samples: dict[tuple[str, str], list[Sample]] = defaultdict(list)
    tests = [test for test in config.test if test != "memory"]
    for number in range(1, config.rounds + 1):
        for test in tests:
            for server in servers:
                samples[server.name, test].append(meter.measure(server, test))
            say(f"round {number} of {config.rounds}: {test} (machine's load {os.getloadavg()[0]:.1f})")
    rows = rows_of(samples)
    if rows:
        say(table(rows))
    return rows


def _memory(config: BenchConfig, servers: list[Server], meter: Meter, say: Say) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []
    for server in servers:
        if server.process is None:
            continue
        for done, mb in meter.memory(server, config.requests):
            say(f"{server.name}: {mb:.1f} MiB after {done} requests")
            rows += rows_of({(server.name, f"memory-{done}"): [Sample(rss_mb=mb)]})
    return rows
