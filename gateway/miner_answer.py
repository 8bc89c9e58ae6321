"""Reading what a miner says: events and answers that must be JSON, receipts taken out, errors understood."""

from typing import Any

import orjson

from gateway.errors import MinerFailure, MinerRefusal

MAX_RECEIPT_BYTES = 1 << 16
"""Largest receipt: 128 choices take some 45 KB."""

MOST_GROWTH = 8
"""How many times as long JSON may become when it is written again: 1e15, say, is 1000000000000000.0."""

MAX_RECEIPT_NESTING = 4
"""A receipt is an object with a list of objects; one level more than it needs."""

MAX_ANSWER_NESTING = 64
"""Deepest event or answer. Log probabilities nest five deep; parsers of clients fail near 1,000."""

MAX_ERROR_MESSAGE_CHARS = 2000
_MAX_WORD_CHARS = 100

REFUSAL_STATUSES = frozenset({400, 413, 422})
"""Answers that blame the request. Others (401, 403, 404, 429, 5xx) are the miner's own trouble."""

OVERLOAD_STATUSES = frozenset({429, 503})
"""The miner's own trouble, but one that passes: it is left alone for a while."""


def read_part(data: bytes) -> tuple[dict[str, Any], dict[str, Any] | None]:
    """Parse an event's data or an answer's body, and take the receipt out.

    Returns: its JSON object without the receipt, and the receipt that it carried, not checked.

    Raises:
        MinerFailure: not a JSON object, an error, or an impossible receipt.
    """
    payload = json_object_of(data)
    if payload.get("error") is not None:
        raise MinerFailure(f"it broke off with an error: {_error_fields(payload)[0]}")
    if "provenance" in payload:
        raise MinerFailure("it sent a field `provenance`, which is the gateway's own word")
    receipt = payload.pop("receipt", None)
    if receipt is not None:
        _check_receipt(receipt, len(data))
    return payload, receipt


def remove_token_ids(payload: dict[str, Any]) -> None:
    """Take out of a whole answer the ids that the gateway asked for, and not the client."""
    payload.pop("prompt_token_ids", None)
    for choice in payload["choices"]:
        choice.pop("prompt_token_ids", None)
        choice.pop("token_ids", None)


def json_object_of(data: bytes) -> dict[str, Any]:
    """The JSON object that an event or an answer is, of bounded depth.

    Raises:
        MinerFailure: it is something else.
    """
    try:
        value = orjson.loads(data)
    except orjson.JSONDecodeError as error:
        raise MinerFailure(f"it sent something that is not JSON: {error}") from None
    if not isinstance(value, dict):
        raise MinerFailure("it sent JSON that is not an object")
    brackets = data.count(b"[") + data.count(b"{")
    if brackets > MAX_ANSWER_NESTING and _depth(value, MAX_ANSWER_NESTING) > MAX_ANSWER_NESTING:
        raise MinerFailure(f"it sent JSON that is nested more than {MAX_ANSWER_NESTING} deep")
    return value


def _check_receipt(receipt: Any, bytes_with_it: int) -> None:
    if not isinstance(receipt, dict):
        raise MinerFailure("its receipt is not an object")
    may_be = bytes_with_it * MOST_GROWTH > MAX_RECEIPT_BYTES
    too_large = may_be and len(orjson.dumps(receipt)) > MAX_RECEIPT_BYTES
    if too_large or _depth(receipt, MAX_RECEIPT_NESTING) > MAX_RECEIPT_NESTING:
        raise MinerFailure("its receipt is larger than any receipt can be")


def _depth(value: Any, most: int) -> int:
    """Nesting of lists and objects, at most one more than `most`."""
    level, depth = [value], 0
    while level and depth <= most:
        children = [list(item.values()) if isinstance(item, dict) else item for item in level]
        level = [child for group in children for child in group if isinstance(child, (dict, list))]
        depth += 1
    return depth


def error_answer(status: int, body: bytes, retry_after: str | None = None) -> MinerFailure:
    """What an answer with an error status means: a refusal of the request, or a failure of the miner.

    Args:
        retry_after: its header of that name.
    """
    try:
        message, code, param = _error_fields(orjson.loads(body))
    except orjson.JSONDecodeError:
        message, code, param = "", None, None
    if status in REFUSAL_STATUSES:
        return MinerRefusal(
            message or f"The miner refused the request with HTTP {status}.", status, code, param
        )
    words = f"it answered HTTP {status}" + (f": {message}" if message else "")
    return MinerFailure(words, status, _asked_wait_s(status, retry_after))


def _asked_wait_s(status: int, retry_after: str | None) -> float | None:
    """For how long a miner that says it is overloaded wants to be left alone; None if it says no such thing.

    A Retry-After that is no number of seconds counts as none: it is the caller's to say how long that is.
    """
    if status not in OVERLOAD_STATUSES:
        return None
    seconds = (retry_after or "").strip()
    return float(seconds) if seconds.isascii() and seconds.isdigit() and len(seconds) < 10 else 0.0


def _error_fields(payload: Any) -> tuple[str, str | None, str | None]:
    """Message, code and param of {"error": {…}}; a message of "" when there is none."""
    error = payload.get("error") if isinstance(payload, dict) else None
    if isinstance(error, str):
        return error[:MAX_ERROR_MESSAGE_CHARS], None, None
    if not isinstance(error, dict):
        return "", None, None
    message = error.get("message")
    return (
        message[:MAX_ERROR_MESSAGE_CHARS] if isinstance(message, str) else "",
        _word(error.get("code")),
        _word(error.get("param")),
    )


def _word(value: Any) -> str | None:
    return value[:_MAX_WORD_CHARS] if isinstance(value, str) else None
