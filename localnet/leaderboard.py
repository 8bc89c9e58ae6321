"""What an epoch came to, from what was published and what stands on chain: for people and for programs."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from shared.object_store import ObjectReader
from validator.epoch_reading import read_table
from validator.epoch_summary import (
    LATEST_KEY,
    EpochSummary,
    LatestEpoch,
    parse_message,
    summary_key,
)
from validator.scoring import MinerScore
from validator.verdicts import Verdict

MAX_REASON_WIDTH = 160


@dataclass(frozen=True)
class Audits:
    """Verdicts of one miner in one epoch."""

    passed: int
    failed: int
    inconclusive: int

    def as_json(self) -> dict[str, int]:
        return {"pass": self.passed, "fail": self.failed, "inconclusive": self.inconclusive}


@dataclass(frozen=True)
class Row:
    """One miner in one epoch. `weight_on_chain` is the u16 that the auditor's hotkey has set."""

    uid: int
    hotkey: str
    role: str
    requests: int
    tokens_per_s: float | None
    ttft_ms: float | None
    audits: Audits
    reasons: tuple[str, ...]
    score: float
    weight_on_chain: int

    def as_json(self) -> dict[str, Any]:
        return asdict(self) | {"audits": self.audits.as_json(), "reasons": list(self.reasons)}


@dataclass(frozen=True)
class AuditorShares:
    """Who leads several auditors, and how many of an epoch's audits each has made, by name."""

    leader: str
    audits: Mapping[str, int]

    def as_text(self) -> str:
        shares = ", ".join(f"{name} made {audits}" for name, audits in self.audits.items())
        return f"audits: {shares}; {self.leader.partition(' ')[0] or 'nobody'} leads"


@dataclass(frozen=True)
class Epoch:
    """One closed epoch; `auditors` when there are several."""

    number: int
    rows: tuple[Row, ...]
    auditors: AuditorShares | None = None

    def as_json(self) -> dict[str, Any]:
        shares = {"auditors": dict(self.auditors.audits)} if self.auditors else {}
        return {"epoch": self.number, "miners": [row.as_json() for row in self.rows]} | shares


def read_latest(store: ObjectReader) -> int:
    """The number of the newest published epoch.

    Raises:
        ObjectMissing: none has been published.
    """
    return parse_message(LatestEpoch, store.get(LATEST_KEY), LATEST_KEY).epoch


def read_summary(store: ObjectReader, epoch: int) -> EpochSummary:
    """A published summary."""
    return parse_message(EpochSummary, store.get(summary_key(epoch)), summary_key(epoch))


def read_epoch(
    store: ObjectReader, summary: EpochSummary, roles: Mapping[str, str], on_chain: Mapping[int, int]
) -> Epoch:
    """The rows of the miners that `roles` names by hotkey, by uid."""
    verdicts = read_table(store, summary, "verdicts")
    rows = [
        _row(score, roles[score.hotkey], verdicts, on_chain)
        for score in summary.scores
        if score.hotkey in roles
    ]
    return Epoch(summary.epoch, tuple(sorted(rows, key=lambda row: row.uid)))


def _row(score: MinerScore, role: str, verdicts: Sequence[Verdict], on_chain: Mapping[int, int]) -> Row:
    failures = [
        verdict.reason
        for verdict in verdicts
        if verdict.miner_hotkey == score.hotkey and verdict.outcome != "pass"
    ]
    uid = -1 if score.uid is None else score.uid
    return Row(
        uid=uid,
        hotkey=score.hotkey,
        role=role,
        requests=score.requests,
        tokens_per_s=score.tokens_per_s,
        ttft_ms=score.ttft_ms,
        audits=Audits(score.passes, score.fails, score.inconclusive),
        reasons=(*score.reasons, *failures[:1]),
        score=score.score,
        weight_on_chain=on_chain.get(uid, 0),
    )


def shortcomings(epoch: Epoch, honest_roles: frozenset[str]) -> list[str]:
    """What an epoch should have shown and did not, in words: every honest miner earns, no cheat does."""
    complaints = []
    for row in epoch.rows:
        name = f"epoch {epoch.number}: uid {row.uid} ({row.role})"
        if row.role in honest_roles and row.weight_on_chain == 0:
            complaints.append(f"{name} is honest and has no weight on chain: {'; '.join(row.reasons)}")
        if row.role not in honest_roles and row.weight_on_chain > 0:
            complaints.append(f"{name} cheats and has weight {row.weight_on_chain} on chain")
    return complaints


def render(epoch: Epoch) -> str:
    """The leaderboard as text, with a line of reasons below each miner that has a failure or no score."""
    width = max([len("honest  "), *(len(row.role) for row in epoch.rows)])
    lines = [
        f"Epoch {epoch.number}",
        f"  uid  hotkey      {'role':<{width}}"
        "  requests  tokens/s  TTFT ms  audits p/f/i   score  weight on chain",
    ]
    for row in epoch.rows:
        audits = f"{row.audits.passed}/{row.audits.failed}/{row.audits.inconclusive}"
        lines.append(
            f"  {row.uid:>3}  {row.hotkey[:10]}  {row.role:<{width}}  {row.requests:>8}"
            f"  {_number(row.tokens_per_s, 1):>8}  {_number(row.ttft_ms, 0):>7}"
            f"  {audits:>12}  {row.score:>6.3f}  {row.weight_on_chain:>15}"
        )
        if row.score == 0 or row.audits.failed or row.audits.inconclusive:
            lines += [f"       · {reason[:MAX_REASON_WIDTH]}" for reason in row.reasons]
    if epoch.auditors is not None:
        lines.append(f"  {epoch.auditors.as_text()}")
    return "\n".join(lines)


def _number(value: float | None, digits: int) -> str:
    return "–" if value is None else f"{value:.{digits}f}"
