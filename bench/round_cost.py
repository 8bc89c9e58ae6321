"""`python -m bench.round_cost`: what one epoch's probes cost an auditor, and every follower, to find out."""

import random
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

from bench.plain_table import plain
from shared.config import at_least, exit_on_config_error, load, setting

DESCRIPTION = (
    "Make an epoch of a network of so many miners, with as many rounds of probes as count, and measure the "
    "CPU time that it takes to find what they say, part by part."
)
REQUESTS_EACH = 12
"""Requests of clients that a miner serves in the epoch: what synthetic traffic fills up to."""


@dataclass(frozen=True)
class RoundCostConfig:
    """How large the network is."""

    miners: int = setting(256, "miners, each on a machine of its own", at_least(2))
    seed: int = setting(1, "seed of everything that is drawn", at_least(0))


def run(config: RoundCostConfig, say: Callable[[str], None]) -> Sequence[tuple[str, float]]:
    """Measure and print; the parts and their CPU-seconds."""
    from bench.incentives.population import SUBJECT
    from bench.incentives.round_epoch import honest_epoch
    from validator.cache_probe import cache_use
    from validator.machine_links import find_links
    from validator.probe_findings import probe_results
    from validator.repeated_commitments import repeated_commitments
    from validator.round_failures import joint_failures
    from validator.round_history import read_rounds
    from validator.scoring import score
    from validator.scoring_config import ScoringConfig

    scoring = ScoringConfig()
    chance = random.Random(config.seed)
    machines = [replace(SUBJECT, tokens_per_s=chance.uniform(40.0, 160.0)) for _ in range(config.miners)]
    inputs = honest_epoch(machines, REQUESTS_EACH * config.miners, config.seed, scoring)
    hotkeys = [one.hotkey for one in inputs.miners]
    rounds, reading_s = _timed(lambda: read_rounds(inputs.rounds, inputs.requests, scoring))
    newest = rounds.newest(scoring)
    say(
        f"{config.miners} miners, {len(newest)} rounds, {len(inputs.rounds.rounds)} of them in this epoch of "
        f"{len(inputs.requests)} requests"
    )
    parts = [("reading the epoch's rounds", reading_s)]
    parts.append(("which miners slow which", _timed(lambda: find_links(newest, hotkeys, scoring))[1]))
    parts.append(("joint failures", _timed(lambda: joint_failures(newest, hotkeys, scoring))[1]))
    parts.append(("use of caches", _timed(lambda: cache_use(inputs.requests, inputs.verdicts, hotkeys))[1]))
    parts.append(("copied commitments", _timed(lambda: repeated_commitments(inputs.requests))[1]))
    found, everything_s = _timed(lambda: probe_results(inputs, scoring))
    parts.append(("everything that probes find, once more", everything_s))
    parts.append(("scores after that", _timed(lambda: score(inputs, scoring, found.findings))[1]))
    say(plain(("part", "CPU-seconds"), [(part, f"{seconds:.2f}") for part, seconds in parts]))
    return parts


Result = TypeVar("Result")


def _timed(work: Callable[[], Result]) -> tuple[Result, float]:
    begun_s = time.process_time()
    result = work()
    return result, time.process_time() - begun_s


def main() -> int:
    """Measure and print."""
    run(load(RoundCostConfig, DESCRIPTION, prog="python -m bench.round_cost"), print)
    return 0


if __name__ == "__main__":
    exit_on_config_error(main)
