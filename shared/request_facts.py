"""What is published of a request: digests, counts and times, never its text."""

from typing import Annotated, Literal

from pydantic import Field

from shared.canonical import canonical_json
from shared.identifiers import ClientName, Hex32, Message, RequestId, Ss58, Whole
from shared.merkle import leaf_hash
from shared.receipts import MAX_CHOICES, Count, Receipt, UnixMs
from shared.records import Milliseconds, Outcome


class ChoiceFacts(Message):
    """One choice: digests are None for token ids that are no 32-bit numbers."""

    index: Annotated[int, Field(ge=0, lt=MAX_CHOICES)]
    prompt_digest: Hex32 | None
    prompt_tokens: Whole
    output_digest: Hex32 | None
    output_tokens: Whole


class RequestColumns(Message):
    """A record without its text and receipt. Fields mean what they mean in `shared.records.RequestRecord`.

    `known_prefix_tokens` is how much of the first choice's prompt its miner had served before, None where
    that is not known. `client` is the same for one client's requests to one miner in one epoch, None of an
    older log. `text_published` says that the table of texts has this answer.
    """

    version: Literal["request/2"] = "request/2"
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
    http_status: Whole | None
    started_at_ms: UnixMs
    finished_at_ms: UnixMs
    ttft_ms: Milliseconds | None
    duration_ms: Milliseconds
    prompt_tokens: Count
    output_tokens: Count
    choices: Annotated[tuple[ChoiceFacts, ...], Field(max_length=MAX_CHOICES)]
    known_prefix_tokens: Count | None = None
    text_published: bool = False

    @property
    def key(self) -> tuple[str, str]:
        """What identifies one attempt at one miner; also the order in published files."""
        return self.request_id, self.miner_hotkey

    @property
    def serves(self) -> str:
        """What all attempts at one client's request have in common; of an older log, the attempt's own id."""
        return self.client_request or self.request_id


class RequestFacts(RequestColumns):
    """A record without its text.

    `receipt` is None when the miner's receipt is missing or is not a receipt: a field of the miner's own
    making could hold anything, the prompt included.
    """

    receipt: Receipt | None

    def leaf(self) -> bytes:
        """The leaf of the epoch's Merkle tree, whose leaves are in the order of `key`: canonical JSON."""
        return canonical_json(self)


class RequestRow(RequestColumns):
    """A row of the table of requests: `leaf` is the RFC 9162 hash of the facts' leaf."""

    leaf: Hex32


class ReceiptRow(Message):
    """A row of the table of receipts, by the record that it came with, which a receipt may contradict."""

    request_id: RequestId
    miner_hotkey: Ss58
    receipt: Receipt

    @property
    def key(self) -> tuple[str, str]:
        """The request's key."""
        return self.request_id, self.miner_hotkey


def request_row(facts: RequestFacts) -> RequestRow:
    """The facts' row."""
    columns = {name: value for name, value in facts if name != "receipt"}
    return RequestRow(**columns, leaf=leaf_hash(facts.leaf()).hex())


def facts_of_rows(row: RequestRow, receipt: Receipt | None) -> RequestFacts:
    """The facts that a row and its receipt are of."""
    return RequestFacts(**{name: value for name, value in row if name != "leaf"}, receipt=receipt)
