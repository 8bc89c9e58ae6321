"""Reduces a gateway's record to the facts that are published of it."""

import json

from shared.canonical import sha256_hex, token_ids_digest
from shared.errors import MalformedMessage
from shared.receipts import Receipt, parse_receipt
from shared.records import ChoiceRecord, RequestRecord
from shared.request_facts import ChoiceFacts, RequestFacts


def published_name(client: str, epoch: int, miner_hotkey: str) -> str:
    """What a client of a gateway's record is called in one epoch by one miner's requests.

    The record's own name lasts a day and is never published. It is 128 bits that nobody can guess, so hashing
    it is enough: no two names of a client in different epochs, or by different miners, can be matched.
    """
    return sha256_hex(f"constantinople/client/1|{epoch}|{miner_hotkey}|{client}".encode())[:32]


def record_facts(
    record: RequestRecord, epoch: int, known_prefix_tokens: int | None, text_published: bool
) -> RequestFacts:
    """What is published of a record in `epoch`; what the record does not say is given besides."""
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
        choices=tuple(choice_facts(choice) for choice in record.choices),
        receipt=readable_receipt(record),
        known_prefix_tokens=known_prefix_tokens,
        text_published=text_published,
    )


def choice_facts(choice: ChoiceRecord) -> ChoiceFacts:
    """Digests and lengths of one choice."""
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


def readable_receipt(record: RequestRecord) -> Receipt | None:
    """The record's receipt; None where the miner sent none, or something that is none."""
    if record.receipt is None:
        return None
    try:
        return parse_receipt(json.dumps(record.receipt))
    except (MalformedMessage, ValueError):
        return None
