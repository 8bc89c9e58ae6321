"""The gateway's record of one request: what was sent to which miner, what came back, and when."""

from typing import Annotated, Any, Literal

from pydantic import Field

from shared.answer_text import BesideText
from shared.identifiers import ClientName, Hex32, Message, RequestId, Ss58, Whole
from shared.receipts import MAX_CHOICES, Count, UnixMs

Milliseconds = Annotated[float, Field(ge=0)]

Outcome = Literal["answered", "client_left", "refused", "failed"]
"""answered: a whole answer reached the client. client_left: the client went away first, or another miner was
asked as well and was faster.
refused: the miner answered with an error that is the client's fault (HTTP 4xx).
failed: the miner did not answer, broke off, or answered nonsense."""


class ChoiceRecord(Message):
    """One choice as the gateway saw it; token ids are counted and copied from the miner's events.

    What the client was shown is recorded by digest: its tokens say what it should have been. The fields have
    defaults for logs from before they were recorded.
    """

    index: Annotated[int, Field(ge=0, lt=MAX_CHOICES)]
    prompt_token_ids: tuple[int, ...]
    output_token_ids: tuple[int, ...]
    finish_reason: str | None
    text_sha256: Hex32 | None = None
    """Of everything that the client was sent as text, in UTF-8; None in older logs."""
    text_bytes: Annotated[int, Field(ge=0)] = 0
    text_bytes_without_ids: Annotated[int, Field(ge=0)] = 0
    """How much of the text came in events that brought no token ids."""
    beside_text: tuple[BesideText, ...] = ()
    """Fields in which the client was shown something other than text."""
    tool_calls_sha256: Hex32 | None = None
    """Of the tool calls that the client was shown (`shared/shown_tool_calls.py`); None for none, and in older
    logs."""


class RequestRecord(Message):
    """One attempt at one miner. Times ending in `_ms` are milliseconds; `*_at_ms` are Unix time."""

    version: Literal["record/1"] = "record/1"
    request_id: RequestId
    client_request: RequestId | None = None
    """The client's request that this attempt served: the id of its first attempt; None in older logs."""
    client: ClientName | None = None
    """Who asked, by a name that the gateway gives a client for a day and that only the gateway could make
    (HMAC under a key that it forgets); None in older logs."""
    gateway_hotkey: Ss58
    miner_uid: Annotated[int, Field(ge=0, lt=1 << 16)]
    miner_hotkey: Ss58
    path: Annotated[str, Field(max_length=256)]
    request_body: str
    """The body exactly as it was sent to the miner; a receipt's `request_digest` is its SHA-256."""
    streamed: bool
    store: bool
    steered: bool = False
    """Whether the client said which miners it would have (`provider`); False in older logs."""
    outcome: Outcome
    http_status: Whole | None
    error: str | None
    """What went wrong, in words, when the outcome is `refused` or `failed`."""
    started_at_ms: UnixMs
    finished_at_ms: UnixMs
    ttft_ms: Milliseconds | None
    """From sending the request to the first event with a token; None for answers in one piece."""
    duration_ms: Milliseconds
    prompt_tokens: Count
    output_tokens: Count
    """Over all choices, counted by the gateway from token ids."""
    choices: Annotated[tuple[ChoiceRecord, ...], Field(max_length=MAX_CHOICES)]
    receipt: dict[str, Any] | None
    """The miner's receipt as it came, not yet checked; auditors check it."""
