"""What a client is told of one request: who answered, what the miner signed, and what an audit made of it.

Digests, counts and times, no text: of what is published at the end of the epoch, exactly what all requests
have in common. A miner's error in words is left out, since it could quote the request.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any, Literal

from gateway.epoch_store import KnownEpoch, PublishedRequest
from shared.canonical import sha256_hex
from shared.dataset import day_of, table_key
from shared.errors import SignatureMismatch
from shared.receipts import Receipt, check_receipt, receipt_digest
from shared.record_facts import choice_facts, readable_receipt
from shared.records import RequestRecord

AuditState = Literal["audited", "not_drawn", "pending", "unknown"]

TOLD = (
    "request_id", "client_request", "gateway_hotkey", "miner_uid", "miner_hotkey", "path", "streamed",
    "outcome", "http_status", "started_at_ms", "finished_at_ms", "ttft_ms", "duration_ms", "prompt_tokens",
    "output_tokens",
)  # fmt: skip
"""Fields of a record that are told as they are."""


def receipt_path(request_id: str) -> str:
    """Where the receipt of a request is told."""
    return f"/v1/receipts/{request_id}"


def answer(
    asked: str,
    attempts: Sequence[RequestRecord],
    audit: Mapping[str, Any],
    inclusion: Mapping[str, Any],
) -> dict[str, Any]:
    """The whole answer about the attempt `asked`, which is among `attempts` at the same client's request."""
    record = next(one for one in attempts if one.request_id == asked)
    return {
        "object": "receipt",
        "request": {name: getattr(record, name) for name in TOLD} | _digests(record),
        **_receipt(record),
        "audit": dict(audit),
        "inclusion": dict(inclusion),
        "attempts": [
            {
                "request_id": one.request_id,
                "miner_uid": one.miner_uid,
                "miner_hotkey": one.miner_hotkey,
                "outcome": one.outcome,
                "receipt": receipt_path(one.request_id),
            }
            for one in attempts
        ],
    }


def _digests(record: RequestRecord) -> dict[str, Any]:
    return {
        "request_digest": sha256_hex(record.request_body.encode()),
        "choices": [choice_facts(choice).model_dump() for choice in record.choices],
    }


def _receipt(record: RequestRecord) -> dict[str, Any]:
    """The receipt as the miner signed it, its digest, and what is wrong with it.

    What is no receipt is not told: JSON of a miner's own making could hold anything, the prompt included.
    """
    if record.receipt is None:
        return _no_receipt("the miner sent none")
    receipt = readable_receipt(record)
    if receipt is None:
        return _no_receipt("what the miner sent is not a receipt")
    fault = _fault(receipt, record)
    return {
        "receipt": receipt.model_dump(mode="json"),
        "receipt_digest": receipt_digest(receipt),
        "signature": {
            "valid": fault is None,
            "signer": receipt.hotkey,
            "words": fault or "signed by the miner",
        },
    }


def _no_receipt(words: str) -> dict[str, Any]:
    return {
        "receipt": None,
        "receipt_digest": None,
        "signature": {"valid": False, "signer": None, "words": words},
    }


def _fault(receipt: Receipt, record: RequestRecord) -> str | None:
    """Why the receipt is not the miner's word about this request."""
    try:
        check_receipt(receipt)
    except SignatureMismatch as error:
        return str(error)
    if receipt.hotkey != record.miner_hotkey:
        return f"it is signed by {receipt.hotkey}, the request went to {record.miner_hotkey}"
    if receipt.request_id != record.request_id:
        return f"it is about the request {receipt.request_id}"
    return None


def audited(found: PublishedRequest, record: RequestRecord) -> dict[str, Any]:
    """The audit of a request that a published epoch lists."""
    day = day_of(found.epoch.closed_at_ms)
    where = {"epoch": _epoch(found.epoch), "file": table_key("verdicts", day, found.epoch.number)}
    if found.audit is not None:
        words = f"audited in epoch {found.epoch.number}: {found.audit['outcome']}"
        return _audit("audited", words) | where | {"verdict": found.audit}
    if record.outcome != "answered":
        return _audit("not_drawn", f"epoch {found.epoch.number} lists it; only answers are audited") | where
    words = f"epoch {found.epoch.number} lists it and audited others of the miner's answers, by lot"
    return _audit("not_drawn", words) | where


def not_published(
    record: RequestRecord,
    oldest: KnownEpoch | None,
    newest: KnownEpoch | None,
    now_ms: int,
    trouble: str | None,
) -> dict[str, Any]:
    """What can be said of the audit of a request that no epoch lists that was read."""
    late = {"trouble": trouble} if trouble else {}
    if newest is None or oldest is None:
        return _audit("pending", "no epoch of the network has been read yet") | late
    if record.finished_at_ms < newest.opened_at_ms:
        words = (
            f"none of the epochs {oldest.number} to {newest.number}, which this gateway has read, lists it"
        )
        return _audit("unknown", words) | late
    expected_at_ms = _expected_at_ms(record, newest)
    words = "its epoch is not published yet"
    if now_ms > expected_at_ms:
        words += f"; it is late: epoch {newest.number}, the newest, was closed {_minutes(now_ms, newest)} ago"
    return (
        _audit("pending", words) | {"expected_at_ms": expected_at_ms, "newest_epoch": _epoch(newest)} | late
    )


NOT_FOLLOWED: Mapping[str, Any] = {
    "state": "unknown",
    "words": "this gateway was not told where epochs are published (--store)",
}


def _expected_at_ms(record: RequestRecord, newest: KnownEpoch) -> int:
    """When the epoch of a request should be out: epochs last as long as the newest, its closing included."""
    length_ms = max(1, newest.closed_at_ms - newest.opened_at_ms)
    epochs = max(1, math.ceil((record.finished_at_ms - newest.closed_at_ms) / length_ms))
    return newest.closed_at_ms + (epochs + 1) * length_ms


def _minutes(now_ms: int, epoch: KnownEpoch) -> str:
    return f"{max(0, now_ms - epoch.closed_at_ms) / 60_000:.0f} minutes"


def _audit(state: AuditState, words: str) -> dict[str, Any]:
    return {"state": state, "words": words}


def _epoch(epoch: KnownEpoch) -> dict[str, Any]:
    return {
        "number": epoch.number,
        "summary": f"epochs/{epoch.number}.json",
        "summary_digest": epoch.digest,
        "publisher": epoch.publisher,
        "opened_at_ms": epoch.opened_at_ms,
        "closed_at_ms": epoch.closed_at_ms,
    }
