"""The signed summary of an epoch, as far as the gateway needs it: strict in that, open to other fields."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Annotated, Any, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from gateway.standings import AuditStanding
from shared.dataset import MAX_FILES
from shared.errors import ConstantinopleError
from shared.identifiers import Hex32, Ss58
from shared.receipts import UnixMs

EPOCH_DOMAIN = "epoch/1"

Count = Annotated[int, Field(ge=0, le=1 << 53)]
EpochNumber = Annotated[int, Field(ge=1, lt=1 << 31)]
Part = Annotated[float, Field(ge=0, le=1)]


class EpochRefused(ConstantinopleError):
    """A published epoch can't be believed; the message says why."""


class Read(BaseModel):
    """Strict about the fields that are needed, open to others."""

    model_config = ConfigDict(frozen=True, strict=True, extra="ignore", allow_inf_nan=False)


class Pointer(Read):
    """epochs/latest.json."""

    epoch: EpochNumber
    digest: Hex32


class _Tally(Read):
    passes: Count
    fails: Count


class _Test(Read):
    log_evidence: Annotated[float, Field(ge=0)]


class _History(Read):
    hotkey: Ss58
    tallies: tuple[_Tally, ...]
    test: _Test


class _Scoring(Read):
    reject_log_evidence: Annotated[float, Field(gt=0)]


class PublishedFile(Read):
    """A file that the summary names; a table that is not known here is served all the same."""

    table: Annotated[str, Field(max_length=64)]
    key: Annotated[str, Field(max_length=256)]
    sha256: Hex32
    size_bytes: Count
    rows: Count


class _Weight(Read):
    uid: Annotated[int, Field(ge=0, lt=1 << 16)]
    weight: Annotated[int, Field(ge=0, lt=1 << 16)]


class PublishedScore(Read):
    """What an epoch came to for one hotkey; parts are None where it was not eligible."""

    uid: Annotated[int, Field(ge=0, lt=1 << 16)] | None
    hotkey: Ss58
    requests: Count
    answered: Count
    failed: Count
    output_tokens: Count
    tokens_per_s: float | None
    ttft_ms: float | None
    passes: Count
    fails: Count
    inconclusive: Count
    audit_rate: Part
    log_evidence: Annotated[float, Field(ge=0)]
    support: Count
    throughput: Part | None
    latency: Part | None
    verification: Part | None
    reliability: Part | None
    score: Part
    reasons: Annotated[tuple[Annotated[str, Field(max_length=4000)], ...], Field(max_length=64)]


class Summary(Read):
    """epochs/<n>.json, as far as it is needed."""

    version: Annotated[str, Field(pattern=r"^epoch/\d+$")]
    netuid: Annotated[int, Field(ge=0, lt=1 << 16)]
    model: Annotated[str, Field(max_length=256)]
    epoch: EpochNumber
    publisher: Ss58
    opened_at_ms: UnixMs
    closed_at_ms: UnixMs
    block: Count
    previous_digest: Hex32 | None
    files: Annotated[tuple[PublishedFile, ...], Field(max_length=MAX_FILES)]
    manifest_sha256: Hex32
    records: Count
    records_root: Hex32
    scoring: _Scoring
    scores: tuple[PublishedScore, ...]
    weights: tuple[_Weight, ...]
    history_after: tuple[_History, ...]
    signature: str

    def standings(self) -> dict[str, AuditStanding]:
        """How the audits of each hotkey stand after this epoch."""
        return {
            one.hotkey: AuditStanding(
                audits=sum(tally.passes + tally.fails for tally in one.tallies),
                passes=sum(tally.passes for tally in one.tallies),
                rejected=one.test.log_evidence >= self.scoring.reject_log_evidence,
                epoch=self.epoch,
            )
            for one in self.history_after
        }

    def files_of(self, table: str) -> list[PublishedFile]:
        """The files of one table, in the order of their keys.

        Raises:
            EpochRefused: it names none.
        """
        found = sorted((file for file in self.files if file.table == table), key=lambda file: file.key)
        if not found:
            raise EpochRefused(f"epoch {self.epoch} names no table of {table}")
        return found

    def scoreboard(self) -> list[dict[str, Any]]:
        """The scores as they are told, each with its weight on chain: 0 where it earned nothing."""
        weights = {one.uid: one.weight for one in self.weights}
        return [
            {**one.model_dump(mode="json"), "weight": weights.get(one.uid, 0) if one.uid is not None else 0}
            for one in self.scores
        ]

    def told(self, digest: str, outcomes: Iterable[str]) -> dict[str, Any]:
        """What is told of the epoch; `outcomes` are those of its audits."""
        counted = Counter(outcomes)
        return {
            "number": self.epoch,
            "summary_digest": digest,
            "publisher": self.publisher,
            "model": self.model,
            "netuid": self.netuid,
            "opened_at_ms": self.opened_at_ms,
            "closed_at_ms": self.closed_at_ms,
            "block": self.block,
            "records": self.records,
            "records_root": self.records_root,
            "miners": len(self.scores),
            "miners_that_earned": len(self.weights),
            "audits": {outcome: counted[outcome] for outcome in ("pass", "fail", "inconclusive")},
        }


@dataclass(frozen=True)
class FoundSummary:
    """A summary that its publisher signed, and SHA-256 of its bytes."""

    digest: str
    summary: Summary


Parsed = TypeVar("Parsed", bound=Read)


def parse(kind: type[Parsed], data: bytes, name: str) -> Parsed:
    """What is published, read.

    Raises:
        EpochRefused: it is something else; `name` and the first offending field are named.
    """
    try:
        return kind.model_validate_json(data)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        place = ".".join(str(part) for part in first["loc"]) or "the whole text"
        raise EpochRefused(f"{name} is not what it should be: {place}: {first['msg']}") from None
