"""A row of the table of verdicts, as far as clients and miners are told of it."""

from typing import Annotated, Any

from pydantic import Field

from gateway.published_summary import Count, Read
from shared.identifiers import Hex32, RequestId, Ss58
from shared.receipts import UnixMs

VERDICT_COLUMNS = (
    *("request_id", "miner_hotkey", "outcome", "check", "reason", "evidence", "log_e"),
    *("points.list.element.layer", "tokens", "challenge_block", "challenge_seed", "audited_at_ms"),
)
"""What is read of the table; points are most of it, and only their layers are told."""


class _Statistic(Read):
    statistic: Annotated[str, Field(max_length=64)]
    score: float
    p_value: float


class _Point(Read):
    layer: Annotated[int, Field(ge=0, le=1024)]


class _Tokens(Read):
    checked: Count
    exact: Count
    unchecked: Annotated[str, Field(max_length=2000)] = ""


class PublishedVerdict(Read):
    """One verdict, as far as it is told."""

    request_id: RequestId
    miner_hotkey: Ss58
    outcome: Annotated[str, Field(max_length=64)]
    check: Annotated[str, Field(max_length=64)]
    reason: Annotated[str, Field(max_length=2000)]
    evidence: Annotated[tuple[_Statistic, ...], Field(max_length=64)]
    log_e: float
    points: Annotated[tuple[_Point, ...], Field(max_length=4096)]
    tokens: _Tokens | None
    challenge_block: Count
    challenge_seed: Hex32
    audited_at_ms: UnixMs

    def told(self) -> dict[str, Any]:
        """What clients are told of the audit."""
        return {
            "outcome": self.outcome,
            "check": self.check,
            "reason": self.reason,
            "points_checked": len(self.points),
            "layers_checked": sorted({point.layer for point in self.points}),
            "tokens_checked": self.tokens.checked if self.tokens else 0,
            "tokens_exact": self.tokens.exact if self.tokens else 0,
            "tokens_unchecked_because": (self.tokens.unchecked if self.tokens else "") or None,
            "statistics": [one.model_dump() for one in self.evidence],
            "log_e": self.log_e,
            "challenge_block": self.challenge_block,
            "challenge_seed": self.challenge_seed,
            "audited_at_ms": self.audited_at_ms,
        }
