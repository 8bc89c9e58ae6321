"""The verdict: what one audit found, in numbers that anyone can recompute and words a miner can act on."""

from collections.abc import Mapping
from typing import Annotated, Literal

from pydantic import Field, model_validator

from shared.honest_noise import MARGIN_EDGES
from shared.identifiers import Hex32, Message, RequestId, Ss58, Whole
from shared.receipts import MAX_CHOICES, MAX_TOKENS, UnixMs

VerdictOutcome = Literal["pass", "fail", "inconclusive"]
"""pass: every check held. fail: a check failed, and the fault is the miner's.
inconclusive: the audit could not be carried out for a reason that is not the miner's fault."""

Check = Literal[
    "all", "receipt", "prompt", "request", "answer", "opening", "sketch", "replay", "tokens", "text"
]
"""The check that decided: "all" when every one held; "receipt" the signed statement against the record;
"prompt" its tokens against the auditor's own rendering; "request" what the client asked for can't be
rebuilt; "answer" reaching the miner and what it answered; "opening" points and Merkle paths; "sketch" the
distances from the reference; "replay" the replayed vector; "tokens" what was sampled, and where it
stopped; "text" what the client was sent against the tokens."""

Statistic = Literal["typical", "mean", "replay", "tokens"]
"""What is measured of an audit: the geometric and the arithmetic mean of its points' distances, each ÷ the
honest scale of its layer and position; the replayed vector's distance ÷ scale; and the e-value of the
output tokens (`validator/token_evidence.py`)."""

DECIDED_BY: Mapping[Statistic, Check] = {
    "typical": "sketch",
    "mean": "sketch",
    "replay": "replay",
    "tokens": "tokens",
}
"""The check that fails when a statistic is one that honest miners do not have."""

MAX_REASON_CHARACTERS = 1000
"""Bound on a reason: it may quote what a miner said."""

MAX_FAMILIES = 64
"""Bound on the explanations that a verdict weighs."""

Ratio = Annotated[float, Field(ge=0)]
Distance = Annotated[float, Field(ge=0, le=2)]


class AuditedPoint(Message):
    """One opened point, and how far the miner's sketch lies from the reference's (1 − cosine)."""

    choice: Annotated[int, Field(ge=0, lt=MAX_CHOICES)]
    position: Annotated[int, Field(ge=0, lt=MAX_TOKENS)]
    layer: Annotated[int, Field(ge=1, le=1024)]
    distance: Distance


class Evidence(Message):
    """One statistic of an audit, and how often an honest miner's would be at least as large."""

    statistic: Statistic
    score: Annotated[float, Field(ge=0)]
    p_value: Annotated[float, Field(gt=0, le=1)]


class AlternativeFit(Message):
    """How well another sampler, or another model, explains an answer's tokens."""

    name: Annotated[str, Field(max_length=100)]
    log_likelihood: Annotated[float, Field(le=0, allow_inf_nan=False)]
    """The logarithm of the probability with which it draws just these tokens."""


class TokenCheck(Message):
    """How many output tokens were held against the sampler, and how many it would have drawn too."""

    checked: Whole
    exact: Whole
    missed: Annotated[tuple[Whole, ...], Field(max_length=len(MARGIN_EDGES))] = ()
    """The others, by the class of `shared.honest_noise.MARGIN_EDGES` that their margin lies in."""
    alternatives: Annotated[tuple[AlternativeFit, ...], Field(max_length=32)] = ()
    """What else the tokens were held against (`validator/sampler_alternatives.py`)."""
    unchecked: Annotated[str, Field(max_length=MAX_REASON_CHARACTERS)] = ""
    """Why tokens were not checked, in words; empty when they were."""

    @model_validator(mode="after")
    def _adds_up(self) -> "TokenCheck":
        if self.exact + sum(self.missed) != self.checked:
            raise ValueError(
                f"{self.exact} exact and {sum(self.missed)} missed tokens are not {self.checked} checked ones"
            )
        return self


class Verdict(Message):
    """One audit of one record.

    `evidence` and `points` are empty when the audit ended before anything was compared with the reference.
    """

    version: Literal["verdict/4"] = "verdict/4"
    request_id: RequestId
    miner_uid: Annotated[int, Field(ge=0, lt=1 << 16)]
    miner_hotkey: Ss58
    outcome: VerdictOutcome
    check: Check
    reason: Annotated[str, Field(max_length=MAX_REASON_CHARACTERS)]
    evidence: tuple[Evidence, ...]
    log_e: float
    """Natural logarithm of the audit's e-value: what it counts as a whole. 0 when inconclusive."""
    ratios: Annotated[dict[str, Ratio], Field(max_length=MAX_FAMILIES)] = Field(default_factory=dict)
    """The e-value of each family of explanations that could be told (`validator/evidence_families.py`)."""
    points: tuple[AuditedPoint, ...]
    tokens: TokenCheck | None
    challenge_block: Whole
    challenge_block_hash: Annotated[str, Field(max_length=66)]
    challenge_seed: Hex32
    audited_at_ms: UnixMs
