"""Hotkey signatures over messages, separated by domain so that none can be replayed as another."""

from collections.abc import Mapping
from typing import Any, Protocol

from bittensor.sp_core import verify

from shared.canonical import canonical_json
from shared.errors import SignatureMismatch
from shared.identifiers import Message


class Signer(Protocol):
    """What signs: a Bittensor hotkey keypair."""

    @property
    def ss58_address(self) -> str: ...

    def sign(self, message: bytes) -> bytes: ...


def _payload(domain: str, message: Message | Mapping[str, Any]) -> bytes:
    fields = message.model_dump(mode="json") if isinstance(message, Message) else message
    body = {name: value for name, value in fields.items() if name != "signature"}
    return b"constantinople/" + domain.encode() + b"\x00" + canonical_json(body)


def sign_message(signer: Signer, domain: str, message: Message) -> str:
    """Signature, as 0x-hex, over every field of `message` except `signature`."""
    return "0x" + bytes(signer.sign(_payload(domain, message))).hex()


def check_signature(domain: str, message: Message | Mapping[str, Any], signature: str, hotkey: str) -> None:
    """Check that `hotkey` signed `message`, or the message whose JSON fields are `message`.

    Raises:
        SignatureMismatch: it did not, or the signature or the address is malformed.
    """
    try:
        signed = verify(_payload(domain, message), bytes.fromhex(signature.removeprefix("0x")), hotkey)
    except ValueError as error:
        raise SignatureMismatch(f"the signature or the address {hotkey} is malformed: {error}") from None
    if not signed:
        raise SignatureMismatch(f"the signature over this {domain} is not by {hotkey}")
