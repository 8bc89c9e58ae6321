"""The JSON-RPC methods of a Substrate node that the SDK and btcli use."""

import re
from collections.abc import Callable, Mapping
from typing import Any

from bittensor._transport.codec import ss58_decode, ss58_encode

from localnet.chain_node.chain import Chain, StateDiscardedError, UnknownBlockError
from localnet.chain_node.extrinsics import SignedExtrinsic, TransactionError
from localnet.chain_node.jsonrpc import METHOD_NOT_FOUND, Params, RpcError, invalid_params
from localnet.chain_node.ledger import LedgerReader
from localnet.chain_node.metadata import SPEC_NAME, SPEC_VERSION
from localnet.chain_node.production import BlockProducer
from localnet.chain_node.queries.answers import UnknownMethodError, metadata_answer, state_answer
from localnet.chain_node.scale_encoding import ScaleError
from localnet.chain_node.state import ReadableState
from localnet.chain_node.subscriptions import Listener, SubscriptionHub, Topic
from localnet.chain_node.wire_values import to_hex

CHAIN_NAME = "Constantinople development"

_UNKNOWN_BLOCK = 4_003
_RUNTIME_CALL_FAILED = 4_003
_U32_MAX = (1 << 32) - 1
_MAX_KEYS_PER_PAGE = 1_000
_MAX_KEYS_PER_QUERY = 2_000
_MAX_HASHES_PER_REQUEST = 1_000
_SS58_FORMAT = 42
_TOKEN_DECIMALS = 9
_HEX_NUMBER = re.compile("0x[0-9a-fA-F]{1,8}")

Method = Callable[[Listener, Params], Any]


class NodeMethods:
    """Answers requests from the chain."""

    def __init__(self, chain: Chain, hub: SubscriptionHub, producer: BlockProducer) -> None:
        self._chain = chain
        self._hub = hub
        self._producer = producer

    def table(self) -> Mapping[str, Method]:
        """Every method by name."""
        return self._chain_methods() | self._state_methods() | self._author_methods() | self._system_methods()

    def _chain_methods(self) -> dict[str, Method]:
        subscriptions = {
            f"chain_subscribe{name}": self._head_subscription(topic)
            for name, topic in (
                ("NewHeads", Topic.NEW_HEADS),
                ("NewHead", Topic.NEW_HEADS),
                ("FinalizedHeads", Topic.FINALIZED_HEADS),
                ("AllHeads", Topic.ALL_HEADS),
            )
        }
        ends = ("NewHeads", "NewHead", "FinalizedHeads", "AllHeads")
        return subscriptions | {
            **{f"chain_unsubscribe{name}": self._unsubscribe for name in ends},
            "chain_getHead": lambda listener, params: to_hex(self._chain.head.hash),
            "chain_getFinalizedHead": lambda listener, params: to_hex(self._chain.head.hash),
            "chain_getBlockHash": lambda listener, params: self._block_hashes(params.optional(0)),
            "chain_getHeader": self._header,
            "chain_getBlock": self._block,
        }

    def _state_methods(self) -> dict[str, Method]:
        return {
            "state_getRuntimeVersion": self._runtime_version,
            "state_call": self._runtime_call,
            "state_getStorage": self._storage,
            "state_getStorageAt": self._storage,
            "state_queryStorageAt": self._query_storage,
            "state_getKeysPaged": self._keys_paged,
            "state_subscribeRuntimeVersion": lambda listener, params: self._hub.subscribe(
                listener, Topic.RUNTIME_VERSION, self._chain.runtime.version_json()
            ),
            "state_unsubscribeRuntimeVersion": self._unsubscribe,
        }

    def _author_methods(self) -> dict[str, Method]:
        return {
            "author_submitExtrinsic": lambda listener, params: to_hex(self._submit(params).hash),
            "author_submitAndWatchExtrinsic": lambda listener, params: self._hub.watch(
                listener, lambda: self._submit(params)
            ),
            "author_unwatchExtrinsic": self._unsubscribe,
            "author_pendingExtrinsics": lambda listener, params: [
                to_hex(extrinsic.raw) for extrinsic in self._chain.pool.waiting.values()
            ],
            "account_nextIndex": self._next_index,
            "system_accountNextIndex": self._next_index,
        }

    def _system_methods(self) -> dict[str, Method]:
        properties = {
            "ss58Format": _SS58_FORMAT,
            "tokenDecimals": _TOKEN_DECIMALS,
            "tokenSymbol": "TAO",
            "isEthereum": False,
        }
        health = {"peers": 0, "isSyncing": False, "shouldHavePeers": False}
        constants = {
            "system_name": SPEC_NAME,
            "system_chain": CHAIN_NAME,
            "system_version": f"{SPEC_VERSION}-development",
            "system_chainType": "Development",
            "system_properties": properties,
            "system_health": health,
            "system_peers": [],
        }
        methods: dict[str, Method] = {name: _constant(value) for name, value in constants.items()}
        return methods | {"rpc_methods": lambda listener, params: {"methods": sorted(self.table())}}

    # chain

    def _head_subscription(self, topic: Topic) -> Method:
        def subscribe(listener: Listener, params: Params) -> str:
            return self._hub.subscribe(listener, topic, self._chain.head.header_json())

        return subscribe

    def _unsubscribe(self, listener: Listener, params: Params) -> bool:
        return self._hub.unsubscribe(listener, params.text(0))

    def _block_hashes(self, number: Any) -> Any:
        if number is None:
            return to_hex(self._chain.head.hash)
        if isinstance(number, list) and len(number) <= _MAX_HASHES_PER_REQUEST:
            return [self._block_hashes(item) for item in number]
        block_hash = self._chain.hash_at(_block_number(number))
        return None if block_hash is None else to_hex(block_hash)

    def _header(self, listener: Listener, params: Params) -> dict[str, Any] | None:
        block = self._chain.block(params.optional_hash(0) or self._chain.head.hash)
        return None if block is None else block.header_json()

    def _block(self, listener: Listener, params: Params) -> dict[str, Any] | None:
        block = self._chain.block(params.optional_hash(0) or self._chain.head.hash)
        return None if block is None else block.json()

    # state

    def _state(self, block_hash: bytes | None) -> ReadableState:
        try:
            return self._chain.state_at(block_hash)
        except UnknownBlockError as error:
            reason = f"Client error: UnknownBlock: Header was not found in the database: {error}"
        except StateDiscardedError as error:
            reason = f"Client error: UnknownBlock: State already discarded for {error}"
        raise RpcError(_UNKNOWN_BLOCK, reason)

    def _runtime_version(self, listener: Listener, params: Params) -> dict[str, Any]:
        block_hash = params.optional_hash(0)
        if block_hash is not None and self._chain.block(block_hash) is None:
            self._state(block_hash)
        return self._chain.runtime.version_json()

    def _runtime_call(self, listener: Listener, params: Params) -> str:
        name, data, block_hash = params.text(0), params.hex_bytes(1), params.optional_hash(2)
        try:
            answer = metadata_answer(self._chain.runtime, name, data)
            if answer is None:
                ledger = LedgerReader(self._chain.runtime, self._state(block_hash))
                answer = state_answer(ledger, name, data)
        except UnknownMethodError:
            reason = f"Client error: Execution failed: Exported method {name[:60]} is not found"
            raise RpcError(_RUNTIME_CALL_FAILED, reason) from None
        except ScaleError as error:
            raise RpcError(_RUNTIME_CALL_FAILED, f"Client error: Execution failed: {error}") from error
        return to_hex(answer)

    def _storage(self, listener: Listener, params: Params) -> str | None:
        value = self._state(params.optional_hash(1)).read(params.hex_bytes(0))
        return None if value is None else to_hex(value)

    def _query_storage(self, listener: Listener, params: Params) -> list[dict[str, Any]]:
        keys, block_hash = params.hex_list(0, _MAX_KEYS_PER_QUERY), params.optional_hash(1)
        state = self._state(block_hash)
        values = ((key, state.read(key)) for key in keys)
        changes = [[to_hex(key), None if value is None else to_hex(value)] for key, value in values]
        return [{"block": to_hex(block_hash or self._chain.head.hash), "changes": changes}]

    def _keys_paged(self, listener: Listener, params: Params) -> list[str]:
        prefix, count = params.hex_bytes(0), params.integer(1, 0, _MAX_KEYS_PER_PAGE)
        start = b"" if params.optional(2) is None else params.hex_bytes(2)
        keys = (key for key in self._state(params.optional_hash(3)).keys(prefix) if key > start)
        return [to_hex(key) for _, key in zip(range(count), keys, strict=False)]

    # author

    def _submit(self, params: Params) -> SignedExtrinsic:
        try:
            extrinsic = self._chain.submit(params.hex_bytes(0))
        except TransactionError as error:
            raise RpcError(error.code, error.message, error.data) from error
        self._producer.extrinsic_accepted()
        return extrinsic

    def _next_index(self, listener: Listener, params: Params) -> int:
        return self._chain.next_nonce(account_address(params, 0))


def account_address(params: Params, index: int) -> str:
    """An ss58 address among the parameters.

    Raises:
        RpcError: it is none (invalid params).
    """
    try:
        return str(ss58_encode(ss58_decode(params.text(index))))
    except ValueError as error:
        raise invalid_params(f"parameter {index + 1} is no ss58 address") from error


def unknown_method(name: str) -> RpcError:
    return RpcError(METHOD_NOT_FOUND, f"Method not found: {name[:60]}")


def _constant(value: Any) -> Method:
    return lambda listener, params: value


def _block_number(value: Any) -> int:
    if isinstance(value, str) and _HEX_NUMBER.fullmatch(value):
        return int(value, base=16)
    if isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= _U32_MAX:
        return value
    raise invalid_params("a block number is an integer or a hex string")
