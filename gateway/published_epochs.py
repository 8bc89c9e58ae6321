"""Reads what an audit validator publishes: who signed it, and what it says of this gateway's requests.

Only what answers for receipts need is read. Whether scores and weights follow from the evidence is a
watchtower's question (`python validator/watchtower.py`); this gateway believes the publisher that it follows.
"""

import io
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, TypeVar

import orjson
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from gateway.standings import AuditStanding
from shared.canonical import sha256_hex
from shared.errors import ConstantinopleError, ObjectMissing, SignatureMismatch
from shared.identifiers import Hex32, RequestId, Ss58
from shared.object_store import ObjectReader
from shared.receipts import MAX_TOKENS, UnixMs
from shared.signing import check_signature

EPOCH_DOMAIN = "epoch/1"
LATEST_KEY = "epochs/latest.json"

MAX_POINTER_BYTES = 4096
MAX_SUMMARY_BYTES = 32 << 20
"""Some 3 kB a miner and epoch of history; 256 miners have one of about 2 MB."""

MAX_FILE_BYTES = 256 << 20
"""A published request takes 1.5 kB: 100 requests a second for an epoch of 25 minutes, and what a gateway's
memory bears for a moment."""

Count = Annotated[int, Field(ge=0, le=1 << 53)]
EpochNumber = Annotated[int, Field(ge=1, lt=1 << 31)]


class EpochRefused(ConstantinopleError):
    """A published epoch can't be believed; the message says why."""


class _Read(BaseModel):
    """Strict about the fields that are needed, open to others."""

    model_config = ConfigDict(frozen=True, strict=True, extra="ignore", allow_inf_nan=False)


class Pointer(_Read):
    """epochs/latest.json."""

    epoch: EpochNumber
    digest: Hex32


class _Tally(_Read):
    passes: Count
    fails: Count


class _Test(_Read):
    log_evidence: Annotated[float, Field(ge=0)]


class _History(_Read):
    hotkey: Ss58
    tallies: tuple[_Tally, ...]
    test: _Test


class _Scoring(_Read):
    reject_log_evidence: Annotated[float, Field(gt=0)]


class _File(_Read):
    key: Annotated[str, Field(max_length=256)]
    sha256: Hex32


class Summary(_Read):
    """epochs/<n>.json, as far as it is needed."""

    version: Annotated[str, Field(pattern=r"^epoch/\d+$")]
    netuid: Annotated[int, Field(ge=0, lt=1 << 16)]
    epoch: EpochNumber
    publisher: Ss58
    opened_at_ms: UnixMs
    closed_at_ms: UnixMs
    previous_digest: Hex32 | None
    files: Annotated[tuple[_File, ...], Field(max_length=64)]
    scoring: _Scoring
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


class _Statistic(_Read):
    statistic: Annotated[str, Field(max_length=64)]
    score: float
    p_value: float


class _Point(_Read):
    position: Annotated[int, Field(ge=0, lt=MAX_TOKENS)]
    layer: Annotated[int, Field(ge=0, le=1024)]


class _Tokens(_Read):
    checked: Count
    exact: Count
    unchecked: Annotated[str, Field(max_length=2000)] = ""


class PublishedVerdict(_Read):
    """One line of verdicts.jsonl, as far as it is told."""

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


class _PublishedRequest(_Read):
    request_id: RequestId
    gateway_hotkey: Ss58


@dataclass(frozen=True)
class FoundSummary:
    """A summary that its publisher signed, and SHA-256 of its bytes."""

    digest: str
    summary: Summary


Findings = Mapping[str, dict[str, Any] | None]
"""What an epoch says of one gateway's requests, by id: the audit, or None of one that was not audited."""


class PublishedEpochs:
    """The epochs of one store. Every method blocks, and raises StoreError when the store can't be read.

    Args:
        netuid: epochs of other subnets are refused.
    """

    def __init__(self, reader: ObjectReader, netuid: int) -> None:
        self._reader, self._netuid = reader, netuid

    def pointer(self) -> Pointer | None:
        """The newest epoch's number and digest; None while nothing is published.

        Raises:
            EpochRefused: it is no pointer.
        """
        try:
            data = self._reader.get(LATEST_KEY, MAX_POINTER_BYTES)
        except ObjectMissing:
            return None
        return _parse(Pointer, data, LATEST_KEY)

    def summary(self, number: int, digest: str) -> FoundSummary:
        """The summary of an epoch, which must have this digest.

        Raises:
            EpochRefused: it is missing, another one, not signed by its publisher, or of another subnet.
        """
        key = f"epochs/{number}.json"
        data = self._get(key, MAX_SUMMARY_BYTES)
        if sha256_hex(data) != digest:
            raise EpochRefused(f"{key} is not the summary that was announced")
        summary = _parse(Summary, data, key)
        if (summary.epoch, summary.netuid) != (number, self._netuid):
            raise EpochRefused(
                f"{key} holds epoch {summary.epoch} of subnet {summary.netuid}, expected is subnet "
                f"{self._netuid}: check --store and --netuid"
            )
        try:
            check_signature(EPOCH_DOMAIN, json.loads(data), summary.signature, summary.publisher)
        except (SignatureMismatch, ValueError) as error:
            raise EpochRefused(f"{key} is not signed by {summary.publisher}: {error}") from None
        return FoundSummary(digest, summary)

    def findings(self, summary: Summary, gateway_hotkey: str) -> Findings:
        """What an epoch says of the requests of the gateway.

        Raises:
            EpochRefused: a file is missing, or not the one that the summary names.
        """
        requests: dict[str, dict[str, Any] | None] = {}
        for name, line in self._lines(summary, "requests"):
            if _gateway_of(line) == gateway_hotkey:
                requests[_parse(_PublishedRequest, line, name).request_id] = None
        for name, line in self._lines(summary, "verdicts"):
            verdict = _parse(PublishedVerdict, line, name)
            if verdict.request_id in requests:
                requests[verdict.request_id] = verdict.told()
        return requests

    def _lines(self, summary: Summary, kind: str) -> Iterator[tuple[str, bytes]]:
        """The lines of one of the epoch's files, each with its name."""
        key = f"epochs/{summary.epoch}/{kind}.jsonl"
        promised = next((file.sha256 for file in summary.files if file.key == key), None)
        if promised is None:
            raise EpochRefused(f"epoch {summary.epoch} names no {key}")
        data = self._get(key, MAX_FILE_BYTES)
        if sha256_hex(data) != promised:
            raise EpochRefused(f"{key} is not the file that its summary names")
        for number, line in enumerate(io.BytesIO(data), start=1):
            yield f"{key} line {number}", line

    def _get(self, key: str, most_bytes: int) -> bytes:
        try:
            return self._reader.get(key, most_bytes)
        except ObjectMissing as error:
            raise EpochRefused(str(error)) from None


def _gateway_of(line: bytes) -> Any:
    """Whose request a line is about, without checking the rest of it."""
    try:
        fields = orjson.loads(line)
    except orjson.JSONDecodeError:
        return None
    return fields.get("gateway_hotkey") if isinstance(fields, dict) else None


Parsed = TypeVar("Parsed", bound=_Read)


def _parse(kind: type[Parsed], data: bytes, name: str) -> Parsed:
    try:
        return kind.model_validate_json(data)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        place = ".".join(str(part) for part in first["loc"]) or "the whole text"
        raise EpochRefused(f"{name} is not what it should be: {place}: {first['msg']}") from None
