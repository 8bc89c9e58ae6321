"""Reduces the gateway's records to what is published of them."""

import json

from pydantic import ValidationError

from shared.canonical import sha256_hex, token_ids_digest
from shared.errors import MalformedMessage
from shared.receipts import Receipt, parse_receipt
from shared.records import ChoiceRecord, RequestRecord
from shared.request_facts import ChoiceFacts as ChoiceFacts
from shared.request_facts import RequestFacts as RequestFacts
from validator.published_rows import ChoiceText, PublishedText


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
        text_published=text_of(record) is not None,
    )


def is_auditable(record: RequestRecord) -> bool:
    """Whether there is something to audit: a whole answer with at least one token."""
    return record.outcome == "answered" and record.output_tokens > 0


def text_of(record: RequestRecord) -> PublishedText | None:
    """What is published of an answer's words, so that anyone can audit it again.

    None for `store: false`, for what can't be audited, and for what a miner said were tokens and are none.
    """
    if not record.store or not is_auditable(record):
        return None
    names = ChoiceText.model_fields.keys()
    try:
        choices = tuple(
            ChoiceText(**{name: getattr(choice, name) for name in names}) for choice in record.choices
        )
    except ValidationError:
        return None
    return PublishedText(
        request_id=record.request_id,
        miner_hotkey=record.miner_hotkey,
        request_body=record.request_body,
        choices=choices,
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
