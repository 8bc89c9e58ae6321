"""From played epochs to figures: a strategy's income ÷ honest income of the same machine."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from bench.incentives.batches import batch_error, batches_of, certain_errors
from bench.incentives.population import Machine
from bench.incentives.simulation import Played, World, play, play_together
from bench.incentives.strategies import HONEST_STRATEGY, Strategy
from validator.comparison import median


@dataclass(frozen=True)
class Earned:
    """What a strategy earned.

    Attributes:
        income: over all epochs, ÷ the honest machine's in the same epochs, registrations paid.
        error: standard error of `income` (`bench.incentives.batches`); None of a run too short to have one.
        best_epoch: the largest ratio of a single epoch.
        lost_epochs: income that was lost, in epochs of the honest machine's.
        late_income: `income` of the later half alone, when all that is found out slowly has been.
    """

    strategy: Strategy
    income: float
    error: float | None
    best_epoch: float
    lost_epochs: float
    late_income: float
    played: Played

    @property
    def pays(self) -> bool:
        """Whether it earns more than honest work does, beyond what chance explains. Never without error."""
        if self.error is None:
            return False
        return self.income - certain_errors(batches_of(len(self.played.incomes[0]))) * self.error > 1


class Measuring:
    """Strategies in one world; the honest machine that each is compared with is played once."""

    def __init__(self, world: World, registration_epochs: float) -> None:
        self._world, self._registration_epochs = world, registration_epochs
        self._honest: dict[Machine, tuple[float, ...]] = {}

    def earned(self, strategy: Strategy, honest_machine: Machine | None = None) -> Earned:
        """Play a strategy; `honest_machine` is compared with, the strategy's own when it is None."""
        honest = self._honest_incomes(honest_machine or strategy.machine)
        played = play(self._world, strategy)
        epochs = len(honest)
        fee = played.registrations * self._registration_epochs
        income = sum(played.incomes[0]) / sum(honest) - fee / epochs
        error = batch_error(played.incomes[0], honest)
        best = max(own / theirs for own, theirs in zip(played.incomes[0], honest, strict=True) if theirs)
        half = epochs // 2
        late = sum(played.incomes[0][half:]) / sum(honest[half:]) - fee / epochs
        return Earned(strategy, income, error, best, (1 - income) * epochs, late, played)

    def _honest_incomes(self, machine: Machine) -> tuple[float, ...]:
        if machine not in self._honest:
            strategy = Strategy(HONEST_STRATEGY.name, 0, "", machine=machine)
            self._honest[machine] = play(self._world, strategy).incomes[0]
        return self._honest[machine]


@dataclass(frozen=True)
class Luck:
    """How far two identical honest miners are apart in an epoch: |a − b| ÷ their mean."""

    answers: float
    median: float
    p95: float
    largest: float


def luck(world: World, machines: Sequence[Machine]) -> Luck:
    """Play honest miners, the first two on the same machine."""
    played = play_together(world, [Strategy("", 0, "", machine=one) for one in machines])
    apart = sorted(2 * abs(a - b) / (a + b) for a, b in zip(*played.incomes[:2], strict=True))
    answers = sum(len(epoch) for epoch in world.epochs) / len(world.epochs) / len(machines)
    return Luck(answers, median(apart) or 0.0, apart[int(len(apart) * 0.95)], apart[-1])


def false_links(plays: Sequence[Played]) -> int:
    """Epochs in which any of the subject's neighbours, who are all honest, was taken to share a machine."""
    return sum(
        bool(shared - own)
        for played in plays
        for shared, own in zip(played.shared, played.subject, strict=True)
    )


def false_slowness(plays: Sequence[Played]) -> int:
    """How often one of the subject's neighbours was told that it is slow while everybody is asked."""
    return sum(
        len(slowed - own)
        for played in plays
        for slowed, own in zip(played.slowed, played.subject, strict=True)
    )


@dataclass(frozen=True)
class SpeedIncome:
    """One honest machine: its speed and income ÷ those of the slowest one."""

    speed: float
    income: float

    @property
    def deviation(self) -> float:
        """From income proportional to speed."""
        return self.income / self.speed - 1


def speed_incomes(world: World, speeds: Sequence[float]) -> Iterator[SpeedIncome]:
    """What honest miners of different speeds earn side by side, slowest first."""
    machines = [Machine(speed) for speed in sorted(speeds)]
    played = play_together(world, [Strategy("", 0, "", machine=one) for one in machines])
    totals = [sum(one) for one in played.incomes]
    for machine, total in zip(machines, totals, strict=True):
        yield SpeedIncome(machine.tokens_per_s / machines[0].tokens_per_s, total / totals[0])


def slope(points: Sequence[SpeedIncome]) -> float:
    """Least-squares slope of ln income over ln speed: 1 when income is proportional to speed."""
    logs = [(math.log(one.speed), math.log(one.income)) for one in points]
    mean_x, mean_y = (sum(one[axis] for one in logs) / len(logs) for axis in (0, 1))
    spread = sum((x - mean_x) ** 2 for x, _ in logs)
    return sum((x - mean_x) * (y - mean_y) for x, y in logs) / spread
