"""What a call needs to know, what it leaves behind, and how it fails."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from localnet.chain_node.ledger import Ledger
from localnet.chain_node.metadata import all_pallets
from localnet.chain_node.scale_encoding import Reader

_CALL_INDEX_BYTES = 2


@dataclass(frozen=True)
class Call:
    """A decoded call.

    `data` is the call as it was sent: pallet index, call index, arguments. Byte strings must be taken from
    there, because the codec decodes `Vec<u8>` to text or to hex and a text of hex digits looks like both.
    """

    name: str
    arguments: dict[str, Any]
    data: bytes

    def argument_bytes(self) -> Reader:
        """The encoded arguments."""
        return Reader(self.data[_CALL_INDEX_BYTES:])


@dataclass(frozen=True)
class Event:
    """`fields` is a dict for named fields, a tuple or a single value for unnamed ones."""

    pallet: str
    name: str
    fields: Any

    def encodable(self) -> dict[str, Any]:
        return {self.pallet: {self.name: self.fields}}


@dataclass(frozen=True)
class Origin:
    """Who signed the call, and the block that it executes in."""

    signer: str
    block_number: int


class DispatchError(Exception):
    """A call fails: its changes are dropped, and the extrinsic's event says why.

    Tree: `DispatchError` → `ModuleError`, `TokenError`, `LookupFailedError`.
    """

    def encodable(self) -> Any:
        """The value of the runtime's `DispatchError` enum, for the codec."""
        raise NotImplementedError


class ModuleError(DispatchError):
    """An error that a pallet declares."""

    def __init__(self, pallet: str, name: str) -> None:
        super().__init__(f"{pallet}.{name}")
        self.pallet, self.name = pallet, name

    def encodable(self) -> dict[str, Any]:
        pallet_index, error_index = _ERROR_INDEXES[self.pallet, self.name]
        return {"Module": {"index": pallet_index, "error": [error_index, 0, 0, 0]}}


class TokenError(DispatchError):
    """An error of moving balances (`sp_runtime::TokenError`)."""

    def __init__(self, name: str) -> None:
        super().__init__(f"Token.{name}")
        self.name = name

    def encodable(self) -> dict[str, Any]:
        return {"Token": self.name}


class LookupFailedError(DispatchError):
    """An account is given in a form that this node cannot look up."""

    def encodable(self) -> str:
        return "CannotLookup"


Dispatchable = Callable[[Ledger, Origin, Call], list[Event]]
"""Executes one call on a layer of changes, and returns its events.

Raises:
    DispatchError: the call fails; the caller drops the layer.
"""

_ERROR_INDEXES = {
    (pallet.name, error.name): (pallet.index, error.index)
    for pallet in all_pallets(slot_duration_ms=0)
    for error in pallet.errors
}


def subtensor_error(name: str) -> ModuleError:
    return ModuleError("SubtensorModule", name)


def ensure(condition: bool, error: DispatchError) -> None:
    """Raises the error unless the condition holds."""
    if not condition:
        raise error
