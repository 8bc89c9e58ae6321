"""Whether the verdicts of an epoch are those that the rule asks for: none missing, none made by choice.

The auditor asks before it seals an epoch, a follower asks again with what was published. Everything that
decides is public: the challenge block of an answer is the first listed block after it, its draw follows
from that block's hash and the receipt's signature, and the rest is `validator.challenge_schedule`.
"""

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from validator.audit_history import standings
from validator.challenge_schedule import AuditPlan, required
from validator.challenge_selection import challenge_seed, selection_draw
from validator.epoch_evidence import EpochRefused
from validator.measurement import ChallengeBlock, EpochInputs
from validator.request_facts import RequestFacts
from validator.request_state import DrawnRequest, RequestKey
from validator.scoring_config import ScoringConfig
from validator.verdicts import Verdict


@dataclass(frozen=True)
class Coverage:
    """What the verdicts of an epoch lack, and what they hold beyond the rule; each ordered.

    Attributes:
        missing: answers of registered hotkeys that had to be audited, or could not be drawn.
        surplus: verdicts on answers that did not have to be audited.
    """

    missing: tuple[RequestKey, ...]
    surplus: tuple[RequestKey, ...]


def answer_draw(answer: RequestFacts, block_hash: str) -> float:
    """The selection draw of an answer, in [0, 1).

    Zero without a readable receipt: there is no signature to draw from, and the audit costs nothing.
    """
    if answer.receipt is None:
        return 0.0
    return selection_draw(challenge_seed(block_hash, answer.receipt.signature))


def coverage(inputs: EpochInputs, config: ScoringConfig) -> Coverage:
    """Hold an epoch's verdicts against its requests, blocks and history."""
    verdicts = {(one.request_id, one.miner_hotkey): one for one in inputs.verdicts}
    registered = {miner.hotkey for miner in inputs.miners}
    drawn, undrawn = _drawn(inputs, verdicts)
    plan = AuditPlan(standings(inputs.history), complete=True)
    wanted = {one.key for one in required(drawn, plan, config)}
    missing = {key for key in wanted if key not in verdicts} | set(undrawn)
    return Coverage(
        missing=tuple(sorted(key for key in missing if key[1] in registered)),
        surplus=tuple(sorted(verdicts.keys() - wanted)),
    )


def _drawn(
    inputs: EpochInputs, verdicts: dict[RequestKey, Verdict]
) -> tuple[list[DrawnRequest], list[RequestKey]]:
    """The answers with their draws, and the keys of those after which no block is listed."""
    blocks = sorted(inputs.blocks, key=lambda block: block.number)
    drawn: list[DrawnRequest] = []
    undrawn: list[RequestKey] = []
    for answer in inputs.requests:
        if answer.outcome != "answered" or not answer.output_tokens:
            continue
        block = _block_after(answer.finished_at_ms, blocks)
        if block is None:
            undrawn.append(answer.key)
        else:
            drawn.append(_drawn_request(answer, block, verdicts.get(answer.key)))
    return drawn, undrawn


def _block_after(finished_at_ms: int, blocks: Sequence[ChallengeBlock]) -> ChallengeBlock | None:
    place = bisect_right(blocks, finished_at_ms, key=lambda block: block.timestamp_ms)
    return blocks[place] if place < len(blocks) else None


def _drawn_request(answer: RequestFacts, block: ChallengeBlock, verdict: Verdict | None) -> DrawnRequest:
    draw = answer_draw(answer, block.hash)
    if verdict is None:
        return DrawnRequest(answer.key, draw)
    return DrawnRequest(answer.key, draw, verdict.outcome, verdict.log_e)


def check_coverage(inputs: EpochInputs, outstanding: int, config: ScoringConfig) -> None:
    """Check that the audits are those that had to be made: all of them, from the right blocks, and no other.

    Args:
        outstanding: how many the summary says are missing.

    Raises:
        EpochRefused: it is not so.
    """
    _check_blocks(inputs)
    found = coverage(inputs, config)
    if found.surplus:
        raise EpochRefused("evidence", f"{found.surplus[0][0]} was audited though it was not drawn")
    if len(found.missing) != outstanding:
        words = f"{outstanding} audits are said to be missing, {len(found.missing)} are"
        raise EpochRefused("evidence", words)
    if found.missing:
        raise EpochRefused(
            "evidence",
            f"{len(found.missing)} answers had to be audited and were not, {found.missing[0][0]} first: the "
            "publisher could not finish in time; its next epoch may be sound again",
        )


def _check_blocks(inputs: EpochInputs) -> None:
    """Blocks are in order, and every verdict names the first one after its answer."""
    blocks = sorted(inputs.blocks, key=lambda block: block.number)
    for one, other in pairwise(blocks):
        if one.number == other.number or one.timestamp_ms >= other.timestamp_ms:
            words = f"block {other.number} is listed twice, or is not later than block {one.number}"
            raise EpochRefused("evidence", words)
    answers = {answer.key: answer for answer in inputs.requests}
    for verdict in inputs.verdicts:
        block = _block_after(answers[verdict.request_id, verdict.miner_hotkey].finished_at_ms, blocks)
        named = (verdict.challenge_block, verdict.challenge_block_hash)
        if block is None or named != (block.number, block.hash):
            words = f"the challenge of {verdict.request_id} is not from the first block after its answer"
            raise EpochRefused("evidence", words)
