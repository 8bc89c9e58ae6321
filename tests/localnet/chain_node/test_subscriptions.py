from typing import Any

import orjson
import pytest
from bittensor.sp_core import Keypair

from localnet.chain_node.chain import Chain
from localnet.chain_node.extrinsics import SignedExtrinsic
from localnet.chain_node.jsonrpc import RpcError
from localnet.chain_node.subscriptions import MAX_SUBSCRIPTIONS_PER_SESSION, SubscriptionHub, Topic
from localnet.chain_node.wire_values import to_hex
from tests.localnet.chain_node.memory_chain import memory_chain
from tests.localnet.chain_node.signing import Signer

ALICE = Keypair.create_from_uri("//Alice")


class Inbox:
    """A listener that keeps what it is told."""

    def __init__(self) -> None:
        self.messages: list[dict[str, Any]] = []

    def send_soon(self, message: bytes) -> None:
        self.messages.append(orjson.loads(message))

    @property
    def results(self) -> list[Any]:
        return [message["params"]["result"] for message in self.messages]


@pytest.fixture
def hub() -> SubscriptionHub:
    return SubscriptionHub()


@pytest.fixture
def chain() -> Chain:
    return memory_chain()


def submitted(chain: Chain, nonce: int = 0) -> SignedExtrinsic:
    return chain.submit(Signer.of(chain, ALICE).remark(nonce=nonce))


@pytest.mark.parametrize("topic", [Topic.NEW_HEADS, Topic.FINALIZED_HEADS, Topic.ALL_HEADS])
def test_heads_go_to_their_subscribers(hub: SubscriptionHub, chain: Chain, topic: Topic) -> None:
    inbox = Inbox()
    identifier = hub.subscribe(inbox, topic, "first")
    block = chain.produce()
    hub.announce(block)
    assert inbox.results == ["first", block.block.header_json()]
    assert {message["method"] for message in inbox.messages} == {topic.value}
    assert {message["params"]["subscription"] for message in inbox.messages} == {identifier}


def test_a_runtime_version_is_told_once(hub: SubscriptionHub, chain: Chain) -> None:
    inbox = Inbox()
    hub.subscribe(inbox, Topic.RUNTIME_VERSION, {"specVersion": 1})
    hub.announce(chain.produce())
    assert inbox.results == [{"specVersion": 1}]


def test_a_watch_ends_with_its_extrinsic(hub: SubscriptionHub, chain: Chain) -> None:
    inbox, bystander = Inbox(), Inbox()
    hub.watch(inbox, lambda: submitted(chain))
    hub.announce(chain.produce())
    block_hash = to_hex(chain.head.hash)
    hub.watch(bystander, lambda: submitted(chain, nonce=1))
    assert inbox.results == ["ready", {"inBlock": block_hash}, {"finalized": block_hash}]
    assert bystander.results == ["ready"]
    assert len(hub) == 1
    hub.announce(chain.produce())
    assert len(inbox.messages) == 3
    assert len(hub) == 0


def test_an_extrinsic_that_became_invalid_is_told_so(hub: SubscriptionHub, chain: Chain) -> None:
    inbox = Inbox()
    hub.watch(inbox, lambda: submitted(chain))
    nonce_used_meanwhile = chain.produce(
        lambda ledger: ledger.put(
            "System.Account",
            ALICE.ss58_address,
            {**ledger.get("System.Account", ALICE.ss58_address), "nonce": 1},
        )
    )
    assert len(nonce_used_meanwhile.refused) == 1
    hub.announce(nonce_used_meanwhile)
    assert inbox.results == ["ready", "invalid"]
    assert len(hub) == 0


def test_without_room_for_a_watch_nothing_is_accepted(hub: SubscriptionHub, chain: Chain) -> None:
    inbox = Inbox()
    for _ in range(MAX_SUBSCRIPTIONS_PER_SESSION):
        hub.subscribe(inbox, Topic.NEW_HEADS, None)
    with pytest.raises(RpcError, match="Too many subscriptions"):
        hub.watch(inbox, lambda: submitted(chain))
    assert len(chain.pool) == 0
    hub.watch(Inbox(), lambda: submitted(chain))
    assert len(chain.pool) == 1


def test_a_lost_connection_takes_only_its_own_subscriptions(hub: SubscriptionHub, chain: Chain) -> None:
    lost, kept = Inbox(), Inbox()
    hub.subscribe(lost, Topic.NEW_HEADS, None)
    identifier = hub.subscribe(kept, Topic.NEW_HEADS, None)
    hub.drop(lost)
    hub.announce(chain.produce())
    assert (len(lost.messages), len(kept.messages)) == (1, 2)
    assert not hub.unsubscribe(lost, identifier)
    assert hub.unsubscribe(kept, identifier)
    assert not hub.unsubscribe(kept, identifier)
