"""The receipt: what a miner states and signs about a response, before it knows what will be asked."""

from typing import Annotated, Literal

from pydantic import Field, ValidationError

from shared.canonical import canonical_json, sha256_hex
from shared.commitments import ChoiceShape
from shared.errors import MalformedMessage
from shared.identifiers import Hex32, Message, RequestId, Seed, SignatureHex, Ss58, Whole
from shared.signing import Signer, check_signature, sign_message

RECEIPT_DOMAIN = "receipt/1"

MAX_TOKENS = 1 << 20
"""Bound on token counts in messages; longer contexts than any served model has."""

MAX_CHOICES = 128
"""Bound on choices a response may have (`n`, or an array of prompts)."""

Count = Annotated[int, Field(ge=0, le=MAX_TOKENS)]
UnixMs = Annotated[int, Field(ge=0, le=1 << 53)]


class ChoiceReceipt(Message):
    """Digests and lengths, in tokens, of one choice."""

    index: Annotated[int, Field(ge=0, lt=MAX_CHOICES)]
    prompt_digest: Hex32
    prompt_tokens: Annotated[int, Field(ge=1, le=MAX_TOKENS)]
    output_digest: Hex32
    output_tokens: Count
    cached_tokens: Count
    """Leading prompt positions that the prefix cache supplied: not computed, so not committed."""

    def shape(self) -> ChoiceShape:
        """The lengths that decide which points are committed."""
        return ChoiceShape(self.index, self.prompt_tokens, self.output_tokens, self.cached_tokens)


class ReceiptBody(Message):
    """Everything a receipt states; the signature covers all of it."""

    version: Literal["receipt/1"] = "receipt/1"
    request_id: RequestId
    hotkey: Ss58
    model: Annotated[str, Field(max_length=256)]
    request_digest: Hex32
    """SHA-256 of the request's body as the miner received it."""
    sampler: Annotated[str, Field(max_length=64)]
    """Identifies the sampling noise; see docs/PROTOCOL.md."""
    seed: Seed | None
    calibration_digest: Hex32
    """Which calibration file standardised the sketches."""
    num_layers: Annotated[int, Field(ge=1, le=1024)]
    choices: Annotated[tuple[ChoiceReceipt, ...], Field(max_length=MAX_CHOICES)]
    merkle_root: Hex32
    leaves: Whole
    received_at_ms: UnixMs
    first_token_at_ms: UnixMs | None
    finished_at_ms: UnixMs


class Receipt(ReceiptBody):
    """A signed receipt."""

    signature: SignatureHex


def sign_receipt(body: ReceiptBody, signer: Signer) -> Receipt:
    """Sign `body` with the miner's hotkey, which must be the one that `body` names.

    Raises:
        ValueError: `body` names another hotkey.
    """
    if body.hotkey != signer.ss58_address:
        raise ValueError(f"the receipt names {body.hotkey}, the signer is {signer.ss58_address}")
    return Receipt(**dict(body), signature=sign_message(signer, RECEIPT_DOMAIN, body))


def check_receipt(receipt: Receipt) -> None:
    """Check that the receipt is signed by the hotkey it names.

    Raises:
        SignatureMismatch: it is not.
    """
    check_signature(RECEIPT_DOMAIN, receipt, receipt.signature, receipt.hotkey)


def receipt_digest(receipt: Receipt) -> str:
    """What a signed receipt is called: SHA-256 of its canonical JSON, signature included."""
    return sha256_hex(canonical_json(receipt))


def parse_receipt(data: bytes | str) -> Receipt:
    """A receipt from JSON text.

    Raises:
        MalformedMessage: it is not a receipt; the message names the first offending field.
    """
    try:
        return Receipt.model_validate_json(data)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        place = ".".join(str(part) for part in first["loc"]) or "the whole text"
        raise MalformedMessage(f"not a receipt: {place}: {first['msg']}") from None
