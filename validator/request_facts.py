"""Reduces the gateway's records to what is published of them: facts of all, texts of some."""

from pydantic import ValidationError

from shared.record_facts import record_facts
from shared.records import RequestRecord
from shared.request_facts import ChoiceFacts as ChoiceFacts
from shared.request_facts import RequestFacts as RequestFacts
from validator.published_rows import ChoiceText, PublishedText


def facts_of(record: RequestRecord, known_prefix_tokens: int | None = None, epoch: int = 0) -> RequestFacts:
    """Reduce a gateway's record to what may be published in `epoch`."""
    return record_facts(record, epoch, known_prefix_tokens, text_of(record) is not None)


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
