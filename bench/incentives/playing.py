"""Plays strategies in several processes: each has the same world, so their number changes no figure."""

from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

from bench.incentives.config import IncentivesConfig
from bench.incentives.measuring import Earned, Measuring
from bench.incentives.population import SUBJECT
from bench.incentives.simulation import Played, World
from bench.incentives.strategies import HARMS, Strategy, strategy_named

_Figures = tuple[float, float | None, float, float, float, Played]
"""Of `Earned` what goes from one process to another: a strategy holds functions, which can't."""

_measuring: Measuring | None = None
"""Of a process of the pool."""


def earned_by(names: Sequence[str], world: World, config: IncentivesConfig) -> Iterator[Earned]:
    """What the strategies of these names earn, in their order, each as soon as it is known."""
    if config.jobs == 1:
        measuring = Measuring(world, config.registration_epochs)
        yield from (_earned(measuring, strategy_named(name)) for name in names)
        return
    terms = (world, config.registration_epochs)
    with ProcessPoolExecutor(config.jobs, get_context("spawn"), _begin, terms) as pool:
        for name, figures in zip(names, pool.map(_figures, names), strict=True):
            yield Earned(strategy_named(name), *figures)


def _earned(measuring: Measuring, strategy: Strategy) -> Earned:
    """Harms are compared with the faultless machine, strategies with their own."""
    return measuring.earned(strategy, SUBJECT if strategy in HARMS else None)


def _begin(world: World, registration_epochs: float) -> None:
    global _measuring
    _measuring = Measuring(world, registration_epochs)


def _figures(name: str) -> _Figures:
    assert _measuring is not None
    one = _earned(_measuring, strategy_named(name))
    return one.income, one.error, one.best_epoch, one.lost_epochs, one.late_income, one.played
