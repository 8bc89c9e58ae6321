"""Epochs of a small subnet, played with the network's own code for everything that decides income.

Routing and its cooldowns are the gateway's, draws, audits, evidence, scores, weights and history the
validator's. Only the answers are made up: how long they took and what an audit of them would find.
"""

import random
from collections.abc import Sequence
from dataclasses import dataclass

from bench.incentives.audits import Audits
from bench.incentives.books import Books, EpochBook
from bench.incentives.miners import Player
from bench.incentives.network import Network
from bench.incentives.population import NEIGHBOURS, Machine
from bench.incentives.rounds import calls
from bench.incentives.strategies import Strategy
from bench.incentives.traffic import Arrival, arrivals
from validator.probe_words import is_slower
from validator.scoring_config import ScoringConfig
from validator.weights import weights_from_scores


@dataclass(frozen=True)
class World:
    """What all strategies are played against."""

    epochs: tuple[Sequence[Arrival], ...]
    audits: Audits
    config: ScoringConfig
    seed: int


def draw_world(epochs: int, requests: int, audits: Audits, seed: int, config: ScoringConfig) -> World:
    """The requests of so many epochs."""
    chance = random.Random(seed)
    return World(tuple(arrivals(requests, chance) for _ in range(epochs)), audits, config, seed)


@dataclass(frozen=True)
class Played:
    """What became of each player, epoch by epoch.

    Attributes:
        incomes: by player, then by epoch: share of what all miners are paid; the first player is the subject.
        unpaid: the subject's epochs without income.
        registrations: of the subject, beyond its first.
        audits: of the subject.
        shared: by epoch, the hotkeys that were found to share a machine with another.
        slowed: by epoch, the hotkeys that were told that they are slow while everybody is asked.
        subject: by epoch, the subject's hotkeys.
    """

    incomes: tuple[tuple[float, ...], ...]
    unpaid: int
    registrations: int
    audits: int
    shared: tuple[frozenset[str], ...]
    slowed: tuple[frozenset[str], ...]
    subject: tuple[frozenset[str], ...]


def play(world: World, strategy: Strategy, neighbours: Sequence[Machine] = NEIGHBOURS) -> Played:
    """Play `strategy` among honest miners on the machines of `neighbours`."""
    honest = [Strategy(f"neighbour-{place}", 0, "", machine=one) for place, one in enumerate(neighbours)]
    return play_together(world, [strategy, *honest])


def play_together(world: World, strategies: Sequence[Strategy]) -> Played:
    """Play several strategies side by side."""
    players = [Player(place, strategy) for place, strategy in enumerate(strategies)]
    books = Books(world.audits, world.config)
    network = Network(players, random.Random(world.seed + 1))
    pages = []
    for epoch, requests in enumerate(world.epochs):
        for player in players:
            player.prepare(epoch, books.history, world.config)
        served, rounds = network.serve(epoch, requests, calls(epoch, world.config))
        pages.append(books.close(epoch, served, players, rounds))
    incomes = tuple(tuple(income(page, place) for page in pages) for place in range(len(players)))
    return Played(
        incomes=incomes,
        unpaid=sum(not one for one in incomes[0]),
        registrations=players[0].registrations,
        audits=sum(page.audits(0) for page in pages),
        shared=tuple(
            frozenset(hotkey for one in page.probes.shared_machines for hotkey in one.hotkeys)
            for page in pages
        ),
        slowed=tuple(frozenset(one.hotkey for one in page.probes.work if is_slower(one)) for page in pages),
        subject=tuple(page.hotkeys[0] for page in pages),
    )


def income(page: EpochBook, player: int) -> float:
    """The share of an epoch's weights that a player's uids have."""
    weights = weights_from_scores(page.scores)
    own = {one.uid for one in page.scores_of(player)}
    return sum(weight for uid, weight in weights.items() if uid in own) / max(1, sum(weights.values()))
