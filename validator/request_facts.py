"""What is published of a request: digests, counts and times, never its text."""

import json
from typing import Annotated, Literal

from pydantic import Field

from shared.canonical import sha256_hex, token_ids_digest
from shared.errors import MalformedMessage
from shared.identifiers import ClientName, Hex32, Message, RequestId, Ss58
from shared.receipts import MAX_CHOICES, Count, Receipt, UnixMs, parse_receipt
from shared.records import ChoiceRecord, Milliseconds, Outcome, RequestRecord


class ChoiceFacts(Message):
    """One choice: digests are None for token ids that are no 32-bit numbers."""

    index: Annotated[int, Field(ge=0, lt=MAX_CHOICES)]
    prompt_digest: Hex32 | None
    prompt_tokens: Annotated[int, Field(ge=0)]
    output_digest: Hex32 | None
    output_tokens: Annotated[int, Field(ge=0)]


class RequestFacts(Message):
    """A record without its text. Fields mean what they mean in `shared.records.RequestRecord`.

    `receipt` is None when the miner's receipt is missing or is not a receipt: a field of the miner's own
    making could hold anything, the prompt included. `known_prefix_tokens` is how much of the first choice's
    prompt its miner had served before (`validator/known_prefixes.py`), None where that is not known. `client`
    is the same for one client's requests to one miner in one epoch (`published_name`), None of an older log.
    """

    version: Literal["request/1"] = "request/1"
    request_id: RequestId
    client_request: RequestId | None = None
    client: ClientName | None = None
    gateway_hotkey: Ss58
    miner_uid: Annotated[int, Field(ge=0, lt=1 << 16)]
    miner_hotkey: Ss58
    path: Annotated[str, Field(max_length=256)]
    request_digest: Hex32
    streamed: bool
    steered: bool = False
    outcome: Outcome
    http_status: int | None
    started_at_ms: UnixMs
    finished_at_ms: UnixMs
    ttft_ms: Milliseconds | None
    duration_ms: Milliseconds
    prompt_tokens: Count
    output_tokens: Count
    choices: Annotated[tuple[ChoiceFacts, ...], Field(max_length=MAX_CHOICES)]
    receipt: Receipt | None
    known_prefix_tokens: Count | None = None

    @property
    def key(self) -> tuple[str, str]:
        """What identifies one attempt at one miner; also the order in published files."""
        return self.request_id, self.miner_hotkey

    @property
    def serves(self) -> str:
        """What all attempts at one client's request have in common; of an older log, the attempt's own id."""
        return self.client_request or self.request_id


def published_name(client: str, epoch: int, miner_hotkey: str) -> str:
    """What a client of a gateway's record is called in one epoch by one miner's requests.

    The record's own name lasts a day and is never published. It is 128 bits that nobody can guess, so hashing
    it is enough: no two names of a client in different epochs, or by different miners, can be matched.
    """
    return sha256_hex(f"constantinople/client/1|{epoch}|{miner_hotkey}|{client}".encode())[:32]


def facts_of(record: RequestRecord, known_prefix_tokens: int | None = None, epoch: int = 0) -> RequestFacts:
    """Reduce a gateway's record to what may be published in `epoch`."""
    shared_fields = (RequestFacts.model_fields.keys() & RequestRecord.model_fields.keys()) - {
        "version",
        "client",
        "choices",
        "receipt",
    }
    return RequestFacts(
        **{name: getattr(record, name) for name in shared_fields},
        client=record.client and published_name(record.client, epoch, record.miner_hotkey),
        request_digest=sha256_hex(record.request_body.encode()),
        choices=tuple(_choice_facts(choice) for choice in record.choices),
        receipt=_readable_receipt(record),
        known_prefix_tokens=known_prefix_tokens,
    )


def _choice_facts(choice: ChoiceRecord) -> ChoiceFacts:
    return ChoiceFacts(
        index=choice.index,
        prompt_digest=_digest(choice.prompt_token_ids),
        prompt_tokens=len(choice.prompt_token_ids),
        output_digest=_digest(choice.output_token_ids),
        output_tokens=len(choice.output_token_ids),
    )


def _digest(token_ids: tuple[int, ...]) -> str | None:
    try:
        return token_ids_digest(token_ids)
    except ValueError:
        return None


def _readable_receipt(record: RequestRecord) -> Receipt | None:
    if record.receipt is None:
        return None
    try:
        return parse_receipt(json.dumps(record.receipt))
    except (MalformedMessage, ValueError):
        return None
