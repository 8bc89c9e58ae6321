"""Who wants to hear of new blocks, and of what becomes of an extrinsic."""

import itertools
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from enum import Enum
from typing import Any, Protocol

from localnet.chain_node.chain import ProducedBlock
from localnet.chain_node.extrinsics import SignedExtrinsic
from localnet.chain_node.jsonrpc import RpcError, notification
from localnet.chain_node.wire_values import to_hex

MAX_SUBSCRIPTIONS_PER_SESSION = 64
_TOO_MANY_SUBSCRIPTIONS = -32_006


class Listener(Protocol):
    """One connection; identity tells two of them apart."""

    def send_soon(self, message: bytes) -> None:
        """Queues a message behind the response to the request in hand; never blocks."""
        ...


class Topic(Enum):
    """What a subscription is about; the value is the method that its notifications name."""

    NEW_HEADS = "chain_newHead"
    FINALIZED_HEADS = "chain_finalizedHead"
    ALL_HEADS = "chain_allHead"
    RUNTIME_VERSION = "state_runtimeVersion"
    EXTRINSIC = "author_extrinsicUpdate"


_HEAD_TOPICS = (Topic.NEW_HEADS, Topic.FINALIZED_HEADS, Topic.ALL_HEADS)


@dataclass(frozen=True)
class _Subscription:
    listener: Listener
    topic: Topic
    extrinsic_hash: bytes | None


class SubscriptionHub:
    """Keeps subscriptions and writes their notifications."""

    def __init__(self) -> None:
        self._subscriptions: dict[str, _Subscription] = {}
        self._ids = itertools.count(1)

    def __len__(self) -> int:
        return len(self._subscriptions)

    def subscribe(self, listener: Listener, topic: Topic, first: Any) -> str:
        """Opens a subscription whose first notification is `first`.

        Raises:
            RpcError: the connection holds as many as it may.
        """
        return self._open(listener, topic, None, first)

    def watch(self, listener: Listener, accept: Callable[[], SignedExtrinsic]) -> str:
        """Opens a subscription to the fate of the extrinsic that `accept` takes into the pool.

        Raises:
            RpcError: the connection holds as many subscriptions as it may; nothing was accepted then.
        """
        self._ensure_room(listener)
        return self._open(listener, Topic.EXTRINSIC, accept().hash, "ready")

    def unsubscribe(self, listener: Listener, identifier: str) -> bool:
        """Closes a subscription of this connection; says whether there was one."""
        subscription = self._subscriptions.get(identifier)
        if subscription is None or subscription.listener is not listener:
            return False
        del self._subscriptions[identifier]
        return True

    def drop(self, listener: Listener) -> None:
        """Forgets a connection that is gone."""
        kept = {i: s for i, s in self._subscriptions.items() if s.listener is not listener}
        self._subscriptions = kept

    def announce(self, produced: ProducedBlock) -> None:
        """Tells of a new block, which is final at once, and of every extrinsic that was waiting."""
        header = produced.block.header_json()
        for identifier, subscription in list(self._subscriptions.items()):
            if subscription.topic in _HEAD_TOPICS:
                self._send(identifier, subscription, header)
        block_hash = to_hex(produced.block.hash)
        self._close_watches(produced.included, ({"inBlock": block_hash}, {"finalized": block_hash}))
        self._close_watches(produced.refused, ("invalid",))

    def _close_watches(self, extrinsics: Iterable[SignedExtrinsic], statuses: Iterable[Any]) -> None:
        hashes = {extrinsic.hash for extrinsic in extrinsics}
        if not hashes:
            return
        for identifier, subscription in list(self._subscriptions.items()):
            if subscription.extrinsic_hash in hashes:
                for status in statuses:
                    self._send(identifier, subscription, status)
                del self._subscriptions[identifier]

    def _ensure_room(self, listener: Listener) -> None:
        held = sum(1 for s in self._subscriptions.values() if s.listener is listener)
        if held >= MAX_SUBSCRIPTIONS_PER_SESSION:
            limit = f"a connection may hold {MAX_SUBSCRIPTIONS_PER_SESSION}"
            raise RpcError(_TOO_MANY_SUBSCRIPTIONS, "Too many subscriptions on the connection", limit)

    def _open(self, listener: Listener, topic: Topic, extrinsic_hash: bytes | None, first: Any) -> str:
        self._ensure_room(listener)
        identifier = f"0x{next(self._ids):016x}"
        subscription = _Subscription(listener, topic, extrinsic_hash)
        self._subscriptions[identifier] = subscription
        self._send(identifier, subscription, first)
        return identifier

    @staticmethod
    def _send(identifier: str, subscription: _Subscription, result: Any) -> None:
        subscription.listener.send_soon(notification(subscription.topic.value, identifier, result))
