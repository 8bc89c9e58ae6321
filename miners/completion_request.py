"""A completion request as it came in, and as vLLM gets it."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import orjson

from miners.errors import RequestRefused
from shared.canonical import sha256_hex
from shared.receipts import MAX_CHOICES

_REQUEST_ID = re.compile(r"[A-Za-z0-9_-]{8,64}")
"""The same as `shared.identifiers.RequestId`."""


@dataclass(frozen=True)
class CompletionRequest:
    """What a receipt says about its request, and the body for vLLM.

    Attributes:
        digest: SHA-256 of the body as it was received.
        body: the body with `request_id` and `return_token_ids` set; the received bytes when they were.
    """

    request_id: str
    digest: str
    seed: int | None
    body: bytes


def parse_completion_request(received: bytes, fresh_id: Callable[[], str]) -> CompletionRequest:
    """Read a body and set what the receipt needs.

    Raises:
        RequestRefused: 400 when the body is not a JSON object, or asks for what no receipt can cover.
    """
    fields = _object(received)
    _check_coverable(fields)
    request_id = fields.get("request_id") or fresh_id()
    if not isinstance(request_id, str) or not _REQUEST_ID.fullmatch(request_id):
        raise _bad("request_id must be 8 to 64 letters, digits, hyphens or underscores")
    amended = {**fields, "request_id": request_id, "return_token_ids": True}
    body = received if amended == fields else orjson.dumps(amended)
    return CompletionRequest(request_id, sha256_hex(received), _seed(fields), body)


def _bad(message: str) -> RequestRefused:
    return RequestRefused(400, message, "invalid_request")


def _object(received: bytes) -> dict[str, Any]:
    try:
        fields = orjson.loads(received)
    except orjson.JSONDecodeError as error:
        raise _bad(f"the body is not JSON: {error}") from None
    if not isinstance(fields, dict):
        raise _bad("the body must be a JSON object")
    return fields


def _seed(fields: dict[str, Any]) -> int | None:
    seed = fields.get("seed")
    return seed if isinstance(seed, int) and not isinstance(seed, bool) else None


def _check_coverable(fields: dict[str, Any]) -> None:
    if fields.get("use_beam_search"):
        raise _bad("beam search is not served: its discarded beams leave nothing to commit to")
    choices = _count(fields.get("n")) * _prompts(fields.get("prompt"))
    if choices > MAX_CHOICES:
        raise _bad(f"the request asks for {choices} choices; at most {MAX_CHOICES} are served")


def _count(n: Any) -> int:
    return n if isinstance(n, int) and n > 0 else 1


def _prompts(prompt: Any) -> int:
    """Prompts of `/v1/completions`: a list of texts or of token lists; a list of ids is one prompt."""
    several = isinstance(prompt, list) and bool(prompt) and not isinstance(prompt[0], int)
    return len(prompt) if several else 1
