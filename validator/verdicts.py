"""The verdict: what one audit found, in numbers that anyone can recompute and words a miner can act on."""

from typing import Annotated, Literal

from pydantic import Field

from shared.identifiers import Hex32, Message, RequestId, Ss58
from shared.receipts import MAX_CHOICES, MAX_TOKENS, UnixMs

VerdictOutcome = Literal["pass", "fail", "inconclusive"]
"""pass: every check held. fail: a check failed, and the fault is the miner's.
inconclusive: the audit could not be carried out for a reason that is not the miner's fault."""

Check = Literal["all", "receipt", "prompt", "request", "answer", "opening", "sketch", "replay"]
"""The check that decided: "all" when every one held; "receipt" the signed statement against the record;
"prompt" its tokens against the auditor's own rendering; "request" what the client asked for can't be
rebuilt; "answer" reaching the miner and what it answered; "opening" points and Merkle paths; "sketch" the
distances from the reference; "replay" the replayed vector."""

MAX_REASON_CHARACTERS = 1000
"""Bound on a reason: it may quote what a miner said."""

Distance = Annotated[float, Field(ge=0, le=2)]


class AuditedPoint(Message):
    """One opened point, and how far the miner's sketch lies from the reference's (1 − cosine)."""

    choice: Annotated[int, Field(ge=0, lt=MAX_CHOICES)]
    position: Annotated[int, Field(ge=0, lt=MAX_TOKENS)]
    layer: Annotated[int, Field(ge=1, le=1024)]
    distance: Distance


class Verdict(Message):
    """One audit of one record.

    `score` is the mean over `points` of distance / honest scale of the layer (see
    `shared.calibration.HonestNoise`), `limit` what it was held against; both are None when the audit
    ended before the sketches were compared. `points` is empty then, too.
    """

    version: Literal["verdict/1"] = "verdict/1"
    request_id: RequestId
    miner_uid: Annotated[int, Field(ge=0, lt=1 << 16)]
    miner_hotkey: Ss58
    outcome: VerdictOutcome
    check: Check
    reason: Annotated[str, Field(max_length=MAX_REASON_CHARACTERS)]
    score: Annotated[float, Field(ge=0)] | None
    limit: Annotated[float, Field(gt=0)] | None
    points: tuple[AuditedPoint, ...]
    replay_score: Annotated[float, Field(ge=0)] | None
    """Distance / honest scale of the replayed vector, held against the calibration's `replay_limit`."""
    challenge_block: Annotated[int, Field(ge=0)]
    challenge_block_hash: Annotated[str, Field(max_length=66)]
    challenge_seed: Hex32
    audited_at_ms: UnixMs
