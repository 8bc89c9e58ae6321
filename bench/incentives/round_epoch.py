"""One epoch of honest miners with a whole window of rounds before it, for measuring what rounds cost."""

import random
from collections.abc import Sequence

from bench.incentives.miners import Player
from bench.incentives.network import Network
from bench.incentives.population import Machine
from bench.incentives.rounds import SECRET, block_at, calls
from bench.incentives.strategies import Strategy
from bench.incentives.traffic import SPEED_SIGMA, arrivals
from validator.measurement import EpochInputs, RegisteredMiner
from validator.probe_rounds import members, round_after
from validator.round_history import RoundHistory, RoundInputs, RoundOutcome, carry_rounds
from validator.round_times import Times
from validator.scoring_config import ScoringConfig

FAULT_SHARE = 0.02
ANSWER_MS = 2500


def honest_epoch(machines: Sequence[Machine], requests: int, seed: int, config: ScoringConfig) -> EpochInputs:
    """Requests and rounds of one epoch, without verdicts, after `round_window` rounds."""
    chance = random.Random(seed)
    players = [Player(place, Strategy("", 0, "", machine=one)) for place, one in enumerate(machines)]
    for player in players:
        player.prepare(0, (), config)
    served, held = Network(players, random.Random(seed)).serve(
        0, arrivals(requests, chance), calls(0, config)
    )
    hotkeys = sorted(hotkey for player in players for hotkey in player.hotkeys)
    return EpochInputs(
        epoch=2,
        requests=[one.facts for one in served],
        verdicts=(),
        miners=[RegisteredMiner(uid=place, hotkey=hotkey) for place, hotkey in enumerate(hotkeys)],
        history=(),
        rounds=RoundInputs(SECRET, None, held, _rounds_before(hotkeys, chance, config)),
    )


def _rounds_before(hotkeys: Sequence[str], chance: random.Random, config: ScoringConfig) -> RoundHistory:
    outcomes: list[RoundOutcome] = []
    number = 10**6
    while len(outcomes) < config.round_window:
        number += 1
        block_hash = block_at(number).hash
        if drawn := round_after(SECRET, block_hash, config):
            asked = members(SECRET, block_hash, drawn.full, hotkeys)
            times = {hotkey: _times(drawn.requests_each, chance) for hotkey in asked}
            outcomes.append(RoundOutcome(number, drawn.full, drawn.requests_each, frozenset(hotkeys), times))
    return carry_rounds(RoundInputs(), outcomes)


def _times(requests: int, chance: random.Random) -> Times:
    if chance.random() < FAULT_SHARE:
        return Times(0, 1000)
    return Times(ANSWER_MS * requests, round(ANSWER_MS * chance.lognormvariate(0.0, SPEED_SIGMA)))
