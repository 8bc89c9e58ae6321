"""The benchmark from flags to tables."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path

from bench.incentives.audits import STAND_IN_NOISE, Audits, read_noise
from bench.incentives.config import IncentivesConfig
from bench.incentives.measuring import Earned, false_links, false_slowness, luck, speed_incomes
from bench.incentives.playing import earned_by
from bench.incentives.population import NEIGHBOURS, SUBJECT
from bench.incentives.simulation import World, draw_world
from bench.incentives.strategies import HARMS, STRATEGIES, Strategy
from bench.incentives.tables import (
    CHEAT_HEAD,
    HARM_HEAD,
    SPEED_HEAD,
    STRATEGY_HEAD,
    cheat_lines,
    earned_json,
    error_words,
    harm_cells,
    link_words,
    luck_words,
    slowness_words,
    speed_cells,
    speed_words,
    strategy_cells,
)
from bench.plain_table import plain
from shared.errors import ConfigError
from shared.honest_noise import HonestNoise
from validator.scoring_config import ScoringConfig

Say = Callable[[str], None]

SPEEDS = (40.0, 60.0, 80.0, 120.0, 160.0)
LUCK_ANSWERS = 110
"""Answers of each miner in an epoch when the luck of identical miners is measured."""


def wanted(names: str) -> list[Strategy]:
    """The strategies that `--strategies` names.

    Raises:
        ConfigError: there is no such strategy.
    """
    known = {one.name: one for one in (*STRATEGIES, *HARMS)}
    if names == "all":
        return list(known.values())
    asked = [name.strip() for name in names.split(",") if name.strip()]
    unknown = [name for name in asked if name not in known]
    if unknown:
        raise ConfigError(f"--strategies: no strategy {', '.join(unknown)}; there are {', '.join(known)}")
    return [known[name] for name in asked]


def run(config: IncentivesConfig, say: Say, tell: Say = lambda _: None) -> list[Earned]:
    """Play the strategies and print the tables.

    Args:
        say: prints what was found; `tell` what is being done.

    Raises:
        ConfigError: a strategy is not known.
        ModelError: the calibration file is missing or damaged.
    """
    strategies = wanted(config.strategies)
    audits = Audits(_noise(config.calibration, say))
    scoring = ScoringConfig()
    world = draw_world(config.epochs, config.requests, audits, config.seed, scoring)
    say(
        f"{config.epochs} epochs of {config.requests} requests, seed {config.seed}; the machine under test "
        f"and {len(NEIGHBOURS)} honest ones. Assumed of cheats (bench/incentives/cheats.py):"
    )
    say(plain(CHEAT_HEAD, cheat_lines()) + "\n")
    tell(f"playing {len(strategies)} strategies in {config.jobs} processes")
    earned = []
    for one in earned_by([one.name for one in strategies], world, config):
        earned.append(one)
        tell(f"{len(earned)} of {len(strategies)} played: {one.strategy.name} {one.income:.3f}")
    say(error_words(config.epochs))
    _say_tables(earned, say)
    if config.strategies == "all":
        tell("playing honest miners of several speeds, and two identical ones")
        _say_fairness(config, world, say)
    if config.json is not None:
        _write(earned, config.json)
    return earned


def _noise(file: Path, say: Say) -> HonestNoise:
    noise = read_noise(file)
    if noise is None:
        say(f"{file.name} holds no honest noise: tails of a small model stand in for it")
        return STAND_IN_NOISE
    say(f"honest audits by the noise of {file.name}")
    return noise


def _say_tables(earned: Sequence[Earned], say: Say) -> None:
    strategies = [one for one in earned if one.strategy not in HARMS]
    harms = [one for one in earned if one.strategy in HARMS]
    honest = [one.played for one in earned if one.strategy.uids == 1]
    if strategies:
        say(plain(STRATEGY_HEAD, [strategy_cells(one) for one in strategies]) + "\n")
    if harms:
        say(plain(HARM_HEAD, [harm_cells(one) for one in harms]) + "\n")
    paying = [one.strategy.name for one in strategies if one.pays]
    say(f"strategies that pay: {', '.join(paying) or 'none'}")
    epochs = sum(len(one.shared) for one in honest)
    say(link_words(epochs, false_links(honest)))
    say(slowness_words(epochs * len(NEIGHBOURS), false_slowness(honest)) + "\n")


def _say_fairness(config: IncentivesConfig, world: World, say: Say) -> None:
    points = list(speed_incomes(world, SPEEDS))
    say(plain(SPEED_HEAD, [speed_cells(one) for one in points]))
    say(speed_words(points))
    machines = (SUBJECT, SUBJECT, *NEIGHBOURS[:1], *NEIGHBOURS[3:])
    requests = LUCK_ANSWERS * len(machines)
    epochs = max(10, config.epochs // 2)
    twins = draw_world(epochs, requests, world.audits, config.seed + 1, world.config)
    say(luck_words(luck(twins, machines)))


def _write(earned: Sequence[Earned], file: Path) -> None:
    rows = [earned_json(one) for one in earned]
    file.write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")
