"""Executing a block: the timestamp, then each extrinsic on a layer of its own, then the events of all."""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from localnet.chain_node import accounts, epoch_clock
from localnet.chain_node.calls import CALLS
from localnet.chain_node.dispatch import Call, DispatchError, Event, Origin
from localnet.chain_node.extrinsics import (
    SignedExtrinsic,
    TransactionError,
    call_arguments,
    check_nonce,
    check_signature,
    parse_extrinsic,
    unsigned_extrinsic,
)
from localnet.chain_node.ledger import Ledger
from localnet.chain_node.runtime import Runtime
from localnet.chain_node.scale_encoding import ScaleError
from localnet.chain_node.shield import Shield, ShieldError

BlockHashes = Callable[[int], bytes | None]

_SHIELDED_CALL = "MevShield.submit_encrypted"
_DISPATCH_INFO = {"weight": {"ref_time": 0, "proof_size": 0}, "class": "Normal", "pays_fee": "No"}

_logger = logging.getLogger(__name__)


@dataclass
class BlockBody:
    """What a block holds so far; `refused` extrinsics turned out invalid when their turn came."""

    extrinsics: list[bytes] = field(default_factory=list)
    events: list[dict[str, Any]] = field(default_factory=list)
    refused: list[SignedExtrinsic] = field(default_factory=list)


class BlockExecutor:
    """Executes one block on a layer over the state of its parent."""

    def __init__(
        self, runtime: Runtime, shield: Shield, ledger: Ledger, number: int, block_hashes: BlockHashes
    ) -> None:
        self._runtime = runtime
        self._shield = shield
        self._ledger = ledger
        self._number = number
        self._block_hashes = block_hashes
        self.body = BlockBody()

    def execute(
        self, parent_hash: bytes, timestamp_ms: int, extrinsics: Sequence[SignedExtrinsic]
    ) -> BlockBody:
        """Runs the whole block; invalid extrinsics are left out of it."""
        self._initialize(parent_hash, timestamp_ms)
        for extrinsic in extrinsics:
            try:
                self._include(extrinsic)
            except TransactionError:
                self.body.refused.append(extrinsic)
        self._ledger.put("System.Events", self.body.events)
        return self.body

    def _initialize(self, parent_hash: bytes, timestamp_ms: int) -> None:
        self._ledger.put("System.Number", self._number)
        self._ledger.put("System.ParentHash", "0x" + parent_hash.hex())
        self._ledger.put("Timestamp.Now", timestamp_ms)
        epoch_clock.tick(self._ledger, self._number)
        inherent = self._runtime.codec.compose_call("Timestamp", "set", {"now": timestamp_ms})
        self._append(unsigned_extrinsic(inherent.data), [_success()])

    def _include(self, extrinsic: SignedExtrinsic) -> None:
        check_nonce(extrinsic, accounts.nonce(self._ledger, extrinsic.signer))
        check_signature(extrinsic, self._number, self._block_hashes)
        call = decode_call(self._runtime, extrinsic.call_data)
        accounts.use_nonce(self._ledger, extrinsic.signer)
        events = self._dispatch(Origin(extrinsic.signer, self._number), call)
        self._append(extrinsic.raw, events)
        if call.name == _SHIELDED_CALL:
            self._include_shielded(call)

    def _dispatch(self, origin: Origin, call: Call) -> list[Event]:
        layer = self._ledger.nested()
        try:
            events = CALLS[call.name](layer, origin, call)
        except DispatchError as error:
            return [_failure(error)]
        self._ledger.absorb(layer)
        return [*events, _success()]

    def _include_shielded(self, carrier: Call) -> None:
        try:
            inner = parse_extrinsic(self._shield.open(carrier.argument_bytes().sized()))
            self._include(inner)
        except (ShieldError, ScaleError, TransactionError) as error:
            _logger.warning("left out a shielded extrinsic in block %d: %s", self._number, error)

    def _append(self, raw: bytes, events: list[Event]) -> None:
        phase = {"ApplyExtrinsic": len(self.body.extrinsics)}
        self.body.extrinsics.append(raw)
        self.body.events += [{"phase": phase, "event": e.encodable(), "topics": []} for e in events]


def decode_call(runtime: Runtime, data: bytes) -> Call:
    """Decodes a call that this node executes.

    Raises:
        ScaleError: the bytes are no call of this runtime, or one that only a block's author may make.
    """
    try:
        decoded = runtime.codec.decode_call(data)
    except ValueError as error:
        raise ScaleError(f"cannot decode the call: {error}") from error
    name = f"{decoded['call_module']}.{decoded['call_function']}"
    if name not in CALLS:
        raise ScaleError(f"{name} cannot be called by a signed extrinsic")
    return Call(name, call_arguments(decoded), data)


def _success() -> Event:
    return Event("System", "ExtrinsicSuccess", {"dispatch_info": _DISPATCH_INFO})


def _failure(error: DispatchError) -> Event:
    fields = {"dispatch_error": error.encodable(), "dispatch_info": _DISPATCH_INFO}
    return Event("System", "ExtrinsicFailed", fields)
