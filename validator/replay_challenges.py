"""Whether exactly those answers were audited that were drawn, at exactly the points that were drawn."""

from collections.abc import Sequence

from shared.challenges import OpenPoint
from shared.commitments import Point
from shared.receipts import Receipt
from shared.request_facts import RequestFacts
from validator.audit_coverage import check_coverage
from validator.challenge_selection import MIN_POINTS, challenge_seed, draw_points, draw_replay_point
from validator.epoch_evidence import EpochRefused, check_listed, check_seeds
from validator.published_rows import IssuedChallenge, ReplayPlace
from validator.replay_epoch import LoadedEpoch
from validator.verdicts import Check, Verdict

MAX_COMMITTED = 1 << 22
"""Points of one receipt that are drawn from: 128 layers of 500,000 tokens. Of a receipt that claims more,
which no record can bear out, nothing is drawn here."""

ASKED_NOTHING: frozenset[Check] = frozenset({"receipt", "prompt", "request", "text"})
"""Checks that decide before the miner is asked anything."""


def check_challenges(epoch: LoadedEpoch, points: int | None) -> str:
    """Every challenge was drawn from its block and its receipt, and none that was drawn is missing.

    Args:
        points: how many the network's calibration has an audit open; None where it is not at hand.

    Raises:
        EpochRefused: it is not so.
    """
    check_listed(epoch.inputs)
    check_seeds(epoch.inputs)
    check_coverage(epoch.inputs, epoch.summary.audits_outstanding, epoch.summary.scoring)
    facts = {one.key: one for one in epoch.records.facts}
    for key, challenge in epoch.challenges.items():
        verdict = epoch.verdicts.get(key)
        if verdict is None:
            raise EpochRefused("evidence", f"{key[0]} was challenged though it was not drawn")
        if fault := _challenge_fault(challenge, facts[key], verdict, points):
            raise EpochRefused("evidence", f"the challenge of {key[0]} {fault}")
    for key, verdict in epoch.verdicts.items():
        if needs_challenge(verdict) and key not in epoch.challenges:
            words = f"the verdict on {key[0]} rests on a challenge that is not published"
            raise EpochRefused("evidence", words)
    blocks = len(epoch.summary.challenge_blocks)
    return (
        f"{len(epoch.verdicts)} answers had to be audited by the draws from {blocks} blocks, and were, no "
        f"others; the points of {len(epoch.challenges)} challenges are those that were drawn"
    )


def needs_challenge(verdict: Verdict) -> bool:
    """Whether a verdict can't have been found without asking the miner.

    An answer that ends where it should not fails by its tokens before anything is asked.
    """
    if verdict.outcome == "pass" or verdict.evidence or verdict.points:
        return True
    return verdict.check not in ASKED_NOTHING | {"tokens"}


def _challenge_fault(
    challenge: IssuedChallenge, facts: RequestFacts, verdict: Verdict, points: int | None
) -> str:
    receipt = facts.receipt
    if receipt is None or not _is_sized(receipt, facts):
        return "has no receipt that anything can be drawn from"
    seed = challenge_seed(verdict.challenge_block_hash, receipt.signature)
    if challenge.challenge_seed != seed:
        return "was not drawn from its block and its receipt"
    return _points_fault(challenge, receipt, seed, points) or _compared_fault(challenge.points, verdict)


def _points_fault(challenge: IssuedChallenge, receipt: Receipt, seed: str, points: int | None) -> str:
    asked = [one.point() for one in challenge.points]
    count = max(points or len(asked), MIN_POINTS)
    try:
        drawn, replayed = draw_points(seed, receipt, count), draw_replay_point(seed, receipt)
    except ValueError as error:
        return f"can't have been drawn: {error}"
    if asked != drawn:
        return f"asks for {_first_other(asked, drawn)}, which was not drawn there"
    place = ReplayPlace(choice=replayed.choice, position=replayed.position, layer=replayed.layer)
    return "" if challenge.replay == place else "asks for another replayed vector than was drawn"


def _first_other(asked: Sequence[Point], drawn: Sequence[Point]) -> str:
    pairs = zip(asked, drawn, strict=False)
    other = next((one for one, right in pairs if one != right), None)
    if other is None:
        return f"{len(asked)} points instead of {len(drawn)}"
    return f"choice {other.choice}, position {other.position}, layer {other.layer}"


def _compared_fault(asked: Sequence[OpenPoint], verdict: Verdict) -> str:
    """Distances are stated of all points that were asked for, in their order, where any were compared."""
    compared = [(one.choice, one.position, one.layer) for one in verdict.points]
    if not compared and all(one.statistic != "typical" for one in verdict.evidence):
        return ""
    if compared != [(one.choice, one.position, one.layer) for one in asked]:
        return "asks for other points than the verdict has distances of"
    return ""


def _is_sized(receipt: Receipt, facts: RequestFacts) -> bool:
    """Whether the receipt's lengths are the record's, so that no work grows with what a miner claims."""
    stated = sorted((one.index, one.prompt_tokens, one.output_tokens) for one in receipt.choices)
    seen = sorted((one.index, one.prompt_tokens, one.output_tokens) for one in facts.choices)
    tokens = sum(prompt + output for _, prompt, output in stated)
    return stated == seen and tokens * receipt.num_layers <= MAX_COMMITTED * 16
