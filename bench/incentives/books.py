"""An epoch's audits and scores: what the auditor makes of the attempts, by its own rules."""

import random
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby

from bench.incentives.audits import Audits
from bench.incentives.miners import Player
from bench.incentives.network import Served
from bench.incentives.rounds import SECRET, START_MS, block_at
from validator.audit_coverage import answer_draw
from validator.audit_history import MinerHistory, carry_history, standings
from validator.challenge_schedule import AuditPlan, required
from validator.challenge_selection import challenge_seed
from validator.measurement import ChallengeBlock, EpochInputs, RegisteredMiner
from validator.probe_findings import ProbeFindings, probe_results
from validator.probe_rounds import BLOCK_MS, ProbeRound
from validator.request_state import DrawnRequest
from validator.round_history import NO_ROUNDS, RoundInputs
from validator.scoring import MinerScore, score
from validator.scoring_config import ScoringConfig
from validator.verdicts import Verdict


def block_after(finished_at_ms: int) -> ChallengeBlock:
    """The first block after an answer."""
    return block_at((finished_at_ms - START_MS) // BLOCK_MS + 1)


@dataclass(frozen=True)
class EpochBook:
    """A closed epoch: what decided it, and what came of it."""

    inputs: EpochInputs
    scores: Sequence[MinerScore]
    hotkeys: tuple[frozenset[str], ...]
    """Each player's."""
    probes: ProbeFindings

    def scores_of(self, player: int) -> list[MinerScore]:
        """The scores of a player's hotkeys."""
        return [one for one in self.scores if one.hotkey in self.hotkeys[player]]

    def audits(self, player: int) -> int:
        """How many of a player's answers were audited."""
        return sum(one.miner_hotkey in self.hotkeys[player] for one in self.inputs.verdicts)


class Books:
    """Audits and scores epoch after epoch, and carries the history on."""

    def __init__(self, audits: Audits, config: ScoringConfig) -> None:
        self._audits, self._config = audits, config
        self.history: tuple[MinerHistory, ...] = ()
        self.rounds = NO_ROUNDS

    def close(
        self,
        epoch: int,
        served: Sequence[Served],
        players: Sequence[Player],
        rounds: Sequence[ProbeRound] = (),
    ) -> EpochBook:
        """Audit what the rule asks for, and score."""
        answers = {one.facts.key: one for one in served if one.facts.outcome == "answered"}
        verdicts = self._verdicts(answers)
        blocks = {block_after(one.facts.finished_at_ms).number for one in answers.values()}
        inputs = EpochInputs(
            epoch=epoch + 1,
            requests=[one.facts for one in served],
            verdicts=verdicts,
            miners=[
                RegisteredMiner(uid=miner.uid, hotkey=miner.hotkey)
                for player in players
                for miner in player.known
            ],
            history=self.history,
            blocks=[block_at(number) for number in sorted(blocks)],
            rounds=RoundInputs(SECRET, None, rounds, self.rounds),
        )
        self.history = carry_history(self.history, epoch + 1, verdicts, self._config)
        hotkeys = tuple(frozenset(player.hotkeys) for player in players)
        probed = probe_results(inputs, self._config)
        self.rounds = probed.rounds_after
        scores = score(inputs, self._config, probed.findings)
        return EpochBook(inputs, scores, hotkeys, probed.findings)

    def _verdicts(self, answers: dict[tuple[str, str], Served]) -> list[Verdict]:
        plan = AuditPlan(standings(self.history), complete=True)
        drawn = [DrawnRequest(key, _draw(one)) for key, one in answers.items()]
        verdicts: list[Verdict] = []
        for _, own in groupby(sorted(drawn, key=lambda one: one.key[1]), key=lambda one: one.key[1]):
            verdicts += self._verdicts_of(list(own), answers, plan)
        return verdicts

    def _verdicts_of(
        self, drawn: list[DrawnRequest], answers: dict[tuple[str, str], Served], plan: AuditPlan
    ) -> list[Verdict]:
        """Audit one hotkey's answers, until the verdicts made ask for no more audits."""
        made: dict[tuple[str, str], Verdict] = {}
        while True:
            asked = [one.key for one in required(drawn, plan, self._config)]
            lacking = [key for key in asked if key not in made]
            if not lacking:
                return [made[key] for key in asked]
            made |= {key: self._verdict(answers[key]) for key in lacking}
            drawn = [
                DrawnRequest(one.key, one.draw, made[one.key].outcome, made[one.key].log_e)
                if one.key in made
                else one
                for one in drawn
            ]

    def _verdict(self, served: Served) -> Verdict:
        facts, block = served.facts, block_after(served.facts.finished_at_ms)
        ending = self._audits.ending(served.trace, random.Random(served.audit_seed))
        return Verdict.model_construct(
            request_id=facts.request_id,
            miner_uid=facts.miner_uid,
            miner_hotkey=facts.miner_hotkey,
            outcome=ending.outcome,
            check="all" if ending.outcome == "pass" else "sketch",
            reason="every check held" if ending.outcome == "pass" else "a check failed",
            evidence=(),
            log_e=ending.log_e,
            ratios=ending.ratios,
            points=(),
            tokens=None,
            challenge_block=block.number,
            challenge_block_hash=block.hash,
            challenge_seed=challenge_seed(block.hash, facts.receipt.signature if facts.receipt else ""),
            audited_at_ms=block.timestamp_ms,
        )


def _draw(served: Served) -> float:
    return answer_draw(served.facts, block_after(served.facts.finished_at_ms).hash)
