"""What an answer says of its own origin: a header and, where the client asks, a field or a last event."""

import hashlib
from collections.abc import Mapping
from typing import Any

import orjson

from gateway.attempt import Attempt
from gateway.client_request import PROVENANCE_FIELD
from gateway.receipt_answers import receipt_path
from shared.inference_paths import CHAT_PATH

DIGEST_HEADER = "x-receipt-digest"


def digest_of(receipt: Mapping[str, Any]) -> str:
    """`shared.receipts.receipt_digest` of a receipt as it came, not checked, at a tenth of its time."""
    return hashlib.sha256(orjson.dumps(receipt, option=orjson.OPT_SORT_KEYS)).hexdigest()


def name_receipt(attempt: Attempt, payload: dict[str, Any]) -> Mapping[str, str]:
    """Headers of a whole answer, whose receipt has come; `payload` gets the field, if it is asked for."""
    assert attempt.receipt is not None
    digest = digest_of(attempt.receipt)
    if attempt.request.provenance:
        payload[PROVENANCE_FIELD] = _provenance(attempt, digest)
    return {**attempt.headers(), DIGEST_HEADER: digest}


def last_event(attempt: Attempt) -> bytes:
    """What comes before the [DONE] of a stream: nothing, or a chunk without choices naming the receipt."""
    if not attempt.request.provenance or attempt.receipt is None:
        return b""
    chat = attempt.request.path == CHAT_PATH
    chunk = {
        "id": f"{'chatcmpl' if chat else 'cmpl'}-{attempt.request_id}",
        "object": "chat.completion.chunk" if chat else "text_completion",
        "created": attempt.started_at_ms // 1000,
        "model": attempt.request.fields["model"],
        "choices": [],
        PROVENANCE_FIELD: _provenance(attempt, digest_of(attempt.receipt)),
    }
    return b"data: " + orjson.dumps(chunk) + b"\n\n"


def _provenance(attempt: Attempt, digest: str) -> dict[str, Any]:
    return {
        "request_id": attempt.request_id,
        "miner_uid": attempt.miner.uid,
        "miner_hotkey": attempt.miner.hotkey,
        "receipt_digest": digest,
        "receipt": receipt_path(attempt.request_id),
    }
