"""Signed extrinsics: taking them apart, and checking their signature, nonce and era as the pool does.

Wire format (version 4): the signer's address, the signature, then era, nonce and tip, then the call. What
is signed is call ‖ era ‖ nonce ‖ tip ‖ spec version ‖ transaction version ‖ genesis hash ‖ hash of the
era's first block, replaced by its hash where it is longer than 256 bytes.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from bittensor._transport.codec import ss58_encode
from bittensor.sp_core import verify

from localnet.chain_node.metadata import EXTRINSIC_VERSION, SPEC_VERSION, TRANSACTION_VERSION
from localnet.chain_node.runtime import HASH_BYTES, blake2_256
from localnet.chain_node.scale_encoding import Reader, ScaleError, sized

_SIGNED_BIT = 0x80
_ACCOUNT_ADDRESS = 0
_SIGNATURE_BYTES = 64
_MAX_UNHASHED_PAYLOAD_BYTES = 256
_MIN_ERA_PERIOD_BLOCKS = 4
_ERA_QUANTIZATION_SHIFT = 12


class TransactionError(Exception):
    """The pool refuses a transaction, with the code and texts of a real node."""

    def __init__(self, code: int, message: str, data: str) -> None:
        super().__init__(f"{message}: {data}")
        self.code = code
        self.message = message
        self.data = data


def invalid_transaction(data: str) -> TransactionError:
    return TransactionError(1010, "Invalid Transaction", data)


def bad_signature() -> TransactionError:
    return invalid_transaction("Transaction has a bad signature")


@dataclass(frozen=True)
class Era:
    """When a transaction is valid; an immortal one has period 0."""

    period_blocks: int = 0
    phase: int = 0

    def birth(self, block_number: int) -> int:
        """First block of the era that contains `block_number`; the genesis block for an immortal one."""
        if not self.period_blocks:
            return 0
        offset = max(block_number, self.phase) - self.phase
        return offset // self.period_blocks * self.period_blocks + self.phase


@dataclass(frozen=True)
class SignedExtrinsic:
    raw: bytes
    signer: str
    signature_scheme: int
    signature: bytes
    era: Era
    nonce: int
    tip_rao: int
    extra: bytes
    call_data: bytes

    @property
    def hash(self) -> bytes:
        return blake2_256(self.raw)


def parse_extrinsic(raw: bytes) -> SignedExtrinsic:
    """Takes a signed extrinsic apart; its call stays encoded.

    Raises:
        ScaleError: the bytes are no signed version 4 extrinsic of an account.
    """
    outer = Reader(raw)
    length = outer.compact()
    body = outer.rest()
    if length != len(body):
        raise ScaleError(f"the extrinsic says {length} bytes and has {len(body)}")
    reader = Reader(body)
    if reader.byte() != _SIGNED_BIT | EXTRINSIC_VERSION:
        raise ScaleError("only signed extrinsics of version 4 are accepted")
    if reader.byte() != _ACCOUNT_ADDRESS:
        raise ScaleError("the signer must be given as an account id")
    signer = ss58_encode(reader.take(HASH_BYTES))
    scheme = reader.byte()
    signature = reader.take(_SIGNATURE_BYTES)
    signed_part = reader.rest()
    extra = Reader(signed_part)
    era, nonce, tip_rao = _parse_era(extra), extra.compact(), extra.compact()
    call_data = extra.rest()
    extra_bytes = signed_part[: len(signed_part) - len(call_data)]
    return SignedExtrinsic(raw, signer, scheme, signature, era, nonce, tip_rao, extra_bytes, call_data)


def _parse_era(reader: Reader) -> Era:
    first = reader.byte()
    if first == 0:
        return Era()
    encoded = first | reader.byte() << 8
    period = 2 << (encoded % 16)
    phase = (encoded >> 4) * max(period >> _ERA_QUANTIZATION_SHIFT, 1)
    if period < _MIN_ERA_PERIOD_BLOCKS or phase >= period:
        raise ScaleError("invalid era period and phase")
    return Era(period, phase)


def check_signature(
    extrinsic: SignedExtrinsic, block_number: int, block_hash: Callable[[int], bytes | None]
) -> None:
    """Refuses an extrinsic that its signer did not sign for a block of this chain at this height.

    `block_hash` gives the hash of a block of this chain, or None where there is no such block.

    Raises:
        TransactionError: bad signature (also another chain's, and one whose era is over), or an era whose
            first block is unknown here.
    """
    birth_hash = block_hash(extrinsic.era.birth(block_number))
    genesis_hash = block_hash(0)
    if birth_hash is None or genesis_hash is None:
        raise invalid_transaction("Transaction has an ancient birth block")
    versions = SPEC_VERSION.to_bytes(4, "little") + TRANSACTION_VERSION.to_bytes(4, "little")
    payload = extrinsic.call_data + extrinsic.extra + versions + genesis_hash + birth_hash
    if len(payload) > _MAX_UNHASHED_PAYLOAD_BYTES:
        payload = blake2_256(payload)
    if not _verify(payload, extrinsic):
        raise bad_signature()


def _verify(payload: bytes, extrinsic: SignedExtrinsic) -> bool:
    try:
        return bool(verify(payload, extrinsic.signature, extrinsic.signer, extrinsic.signature_scheme))
    except ValueError:
        return False


def check_nonce(extrinsic: SignedExtrinsic, expected: int) -> None:
    """Refuses a nonce that was used already, or that leaves a gap.

    Raises:
        TransactionError: the nonce is not `expected`.
    """
    if extrinsic.nonce < expected:
        raise invalid_transaction("Transaction is outdated")
    if extrinsic.nonce > expected:
        raise invalid_transaction("Transaction will be valid in the future")


def unsigned_extrinsic(call_data: bytes) -> bytes:
    """An inherent: an extrinsic that the block's author puts in, signed by nobody."""
    return sized(bytes([EXTRINSIC_VERSION]) + call_data)


def call_arguments(decoded_call: dict[str, Any]) -> dict[str, Any]:
    """Argument values by name, of a call that the codec decoded."""
    return {argument["name"]: argument["value"] for argument in decoded_call["call_args"]}
