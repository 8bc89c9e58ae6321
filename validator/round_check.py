"""Whether the rounds of an epoch were drawn by the rule, and hold requests that were made in them.

The auditor leaves out rounds of which it is not so, a follower refuses an epoch that has one.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

from validator.epoch_evidence import EpochRefused
from validator.measurement import ChallengeBlock, EpochInputs
from validator.probe_rounds import (
    BLOCK_MS,
    MAX_ROUND_LAG_MS,
    MAX_ROUNDS,
    ProbeRound,
    RoundRequests,
    members,
    round_after,
    secret_commitment,
    slot,
)
from validator.request_facts import RequestFacts
from validator.round_history import RoundInputs
from validator.scoring_config import ScoringConfig

CLOCK_SLACK_MS = 50
"""A gateway's clock may be set back by so much within a round."""


def is_committed(rounds: RoundInputs) -> bool:
    """Whether the secret is the one that was committed to two epochs ago."""
    return rounds.secret is not None and secret_commitment(rounds.secret) == rounds.history.commitments[0]


@dataclass(frozen=True)
class RoundEvidence:
    """What rounds are held against: the requests and the challenge blocks of their epoch."""

    facts: Mapping[str, Sequence[RequestFacts]]
    blocks: Mapping[int, ChallengeBlock]


def evidence_of(requests: Sequence[RequestFacts], blocks: Sequence[ChallengeBlock]) -> RoundEvidence:
    """The same by request id, and by number."""
    facts: dict[str, list[RequestFacts]] = {}
    for one in requests:
        facts.setdefault(one.request_id, []).append(one)
    return RoundEvidence(facts, {one.number: one for one in blocks})


def sound_rounds(
    rounds: Sequence[ProbeRound], secret: str, evidence: RoundEvidence, config: ScoringConfig
) -> list[ProbeRound]:
    """The rounds that may be published, by block."""
    sound: dict[int, ProbeRound] = {}
    for one in sorted(rounds, key=lambda one: one.block):
        if not round_fault(one, secret, evidence, config):
            sound.setdefault(slot(one.block_at_ms), one)
    return list(sound.values())[:MAX_ROUNDS]


def check_rounds(inputs: EpochInputs, config: ScoringConfig) -> None:
    """Check the rounds that an epoch's summary names.

    Raises:
        EpochRefused: one was not drawn by the rule, or its requests are not of it.
    """
    rounds = inputs.rounds
    if rounds.secret is None and not rounds.rounds:
        return
    if rounds.secret is None or not is_committed(rounds):
        raise EpochRefused("evidence", "the secret of the rounds is not the one that was committed to")
    slots = {slot(one.block_at_ms) for one in rounds.rounds}
    if len(slots) < len(rounds.rounds) or len(slots) > MAX_ROUNDS:
        raise EpochRefused("evidence", "there are two rounds within 12 s, or too many in the epoch")
    names = [(name, one.hotkey) for held in rounds.rounds for one in held.asked for name in one.request_ids]
    if len(set(names)) < len(names):
        raise EpochRefused("evidence", "a request is said to be of two rounds")
    evidence = evidence_of(inputs.requests, inputs.blocks)
    for held in rounds.rounds:
        if fault := round_fault(held, rounds.secret, evidence, config):
            raise EpochRefused("evidence", f"the round after block {held.block}: {fault}")


def round_fault(held: ProbeRound, secret: str, evidence: RoundEvidence, config: ScoringConfig) -> str:
    """What is wrong with a round; empty when nothing is."""
    block = evidence.blocks.get(held.block)
    if block and (block.hash, block.timestamp_ms) != (held.block_hash, held.block_at_ms):
        return "it names another block of this number than challenges were drawn from"
    drawn = round_after(secret, held.block_hash, config)
    if drawn is None or (drawn.full, drawn.requests_each) != (held.full, held.requests_each):
        return "it was not drawn, or is of another kind"
    if tuple(sorted(set(held.miners))) != held.miners:
        return "its miners are not in order"
    if tuple(one.hotkey for one in held.asked) != members(secret, held.block_hash, held.full, held.miners):
        return "others were asked than were drawn"
    faults = (_member_fault(held, member, evidence.facts, config) for member in held.asked)
    return next((fault for fault in faults if fault), "")


def _member_fault(
    held: ProbeRound,
    member: RoundRequests,
    facts: Mapping[str, Sequence[RequestFacts]],
    config: ScoringConfig,
) -> str:
    if not held.full and len(member.request_ids) > held.requests_each:
        return f"{member.hotkey} was asked more often than the others"
    made = [fact for name in member.request_ids for fact in facts.get(name, ())]
    latest_ms = MAX_ROUND_LAG_MS + (config.full_round_ms if held.full else 0)
    for fact in made:
        late_ms = fact.started_at_ms - held.block_at_ms
        if fact.miner_hotkey != member.hotkey or not -BLOCK_MS <= late_ms <= latest_ms:
            return f"request {fact.request_id} is another miner's, or was made at another time"
    if held.full and _overlap(made):
        return f"{member.hotkey} was asked before it had answered"
    return ""


def _overlap(made: Sequence[RequestFacts]) -> bool:
    """Whether a request began before the one before it had ended."""
    spans = sorted((one.started_at_ms, one.finished_at_ms) for one in made)
    return any(later[0] < earlier[1] - CLOCK_SLACK_MS for earlier, later in pairwise(spans))
