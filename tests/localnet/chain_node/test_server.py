import asyncio
from contextlib import AsyncExitStack

import pytest
from bittensor.sp_core import Keypair
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

from localnet.chain_node.config import NodeConfig
from localnet.chain_node.jsonrpc import METHOD_NOT_FOUND, Params
from localnet.chain_node.pool import MAX_EXTRINSIC_BYTES
from localnet.chain_node.rpc_methods import Method
from localnet.chain_node.server import MAX_CONNECTIONS, MAX_MESSAGE_BYTES, MAX_QUEUED_NOTIFICATIONS, Session
from localnet.chain_node.subscriptions import MAX_SUBSCRIPTIONS_PER_SESSION
from localnet.chain_node.wire_values import to_hex
from tests.localnet.chain_node.raw_connection import RawConnection, raw_connection
from tests.localnet.chain_node.running_node import RunningNode
from tests.localnet.chain_node.signing import Signer

ALICE = Keypair.create_from_uri("//Alice")
BOB = Keypair.create_from_uri("//Bob")


def signer(node: RunningNode, keypair: Keypair = ALICE) -> Signer:
    return node.inside(lambda: Signer.of(node.node.chain, keypair))


async def is_alive(node: RunningNode) -> bool:
    async with raw_connection(node.url) as raw:
        return bool(await raw.call("system_name") == "node-subtensor")


async def read_until_closed(raw: RawConnection) -> None:
    while True:
        await raw.socket.recv()


@pytest.mark.parametrize("message", ["", "{", "[" * 100_000, b"\x00\xff\xfe", "null", '{"jsonrpc":"2.0"}'])
async def test_malformed_messages_are_answered_and_the_connection_stays(
    node: RunningNode, message: str | bytes
) -> None:
    async with raw_connection(node.url) as raw:
        await raw.socket.send(message)
        assert b'"error"' in (await raw.socket.recv(decode=False))
        assert await raw.call("chain_getBlockHash", 0)


@pytest.mark.parametrize(
    ("method", "params", "code"),
    [
        ("no_such_method", [], -32601),
        ("state_getStorage", [5], -32602),
        ("state_getStorage", ["0xzz"], -32602),
        ("state_getStorage", ["0x00", "0x1234"], -32602),
        ("state_getKeysPaged", ["0x", 5_000], -32602),
        ("state_queryStorageAt", [["0x"] * 2_001], -32602),
        ("chain_getBlockHash", [{"number": 1}], -32602),
        ("chain_getBlockHash", [-1], -32602),
        ("account_nextIndex", ["5Nobody"], -32602),
        ("author_submitExtrinsic", [None], -32602),
        ("author_submitExtrinsic", ["0x0123"], 1001),
        ("state_call", ["Nothing_here", "0x"], 4003),
        ("state_call", ["SubnetInfoRuntimeApi_get_metagraph", "0x61"], 4003),
        ("state_call", ["SubnetInfoRuntimeApi_get_metagraph", "0x610000"], 4003),
        ("state_call", ["StakeInfoRuntimeApi_get_stake_info_for_coldkeys", "0xffffffff"], 4003),
        ("state_call", ["Metadata_metadata_at_version", "0x0f"], 4003),
        ("state_getStorage", ["0x", "0x" + "ab" * 32], 4003),
        ("state_getRuntimeVersion", ["0x" + "ab" * 32], 4003),
        ("chain_unsubscribeNewHeads", [], -32602),
    ],
)
async def test_wrong_parameters_get_an_error_code(
    node: RunningNode, method: str, params: list[object], code: int
) -> None:
    async with raw_connection(node.url) as raw:
        assert (await raw.error(method, *params))["code"] == code
        assert await is_alive(node)


async def test_an_unknown_block_is_null_where_a_real_node_says_null(node: RunningNode) -> None:
    async with raw_connection(node.url) as raw:
        assert await raw.call("chain_getHeader", "0x" + "ab" * 32) is None
        assert await raw.call("chain_getBlock", "0x" + "ab" * 32) is None
        assert await raw.call("chain_getBlockHash", 10**6) is None


async def test_blocks_are_found_by_number_in_every_form(node: RunningNode) -> None:
    async with raw_connection(node.url) as raw:
        genesis = await raw.call("chain_getBlockHash", 0)
        assert await raw.call("chain_getBlockHash", "0x0") == genesis
        assert await raw.call("chain_getBlockHash", [0, 0]) == [genesis, genesis]
        assert await raw.call("chain_getBlockHash") == await raw.call("chain_getHead")
        assert await raw.call("chain_getFinalizedHead") == await raw.call("chain_getHead")


async def test_discarded_state_is_named_as_a_real_node_names_it(node: RunningNode) -> None:
    async with raw_connection(node.url) as raw:
        genesis = await raw.call("chain_getHead")
        await raw.call("dev_newBlock", 513)
        error = await raw.error("state_getStorage", "0x", genesis)
        assert error["message"] == f"Client error: UnknownBlock: State already discarded for {genesis}"


async def test_bad_signatures_are_refused_with_the_code_of_a_real_node(node: RunningNode) -> None:
    forged = signer(node).remark(claimed_signer=BOB)
    async with raw_connection(node.url) as raw:
        for method in ("author_submitExtrinsic", "author_submitAndWatchExtrinsic"):
            assert await raw.error(method, to_hex(forged)) == {
                "code": 1010,
                "message": "Invalid Transaction",
                "data": "Transaction has a bad signature",
            }
        assert await raw.call("author_pendingExtrinsics") == []
        assert await raw.call("account_nextIndex", BOB.ss58_address) == 0


async def test_a_replayed_extrinsic_is_refused(node: RunningNode) -> None:
    raw_extrinsic = to_hex(signer(node).remark())
    async with raw_connection(node.url) as raw:
        await raw.call("author_submitExtrinsic", raw_extrinsic)
        await raw.call("dev_newBlock")
        error = await raw.error("author_submitExtrinsic", raw_extrinsic)
        assert (error["code"], error["data"]) == (1010, "Transaction is outdated")
        assert await raw.call("account_nextIndex", ALICE.ss58_address) == 1


async def test_a_watched_extrinsic_is_ready_then_in_a_block_then_final(node: RunningNode) -> None:
    raw_extrinsic = to_hex(signer(node).remark())
    async with raw_connection(node.url) as raw:
        identifier = await raw.call("author_submitAndWatchExtrinsic", raw_extrinsic)
        updates = [await raw.notification() for _ in range(3)]
        head = await raw.call("chain_getHead")
        assert [update["subscription"] for update in updates] == [identifier] * 3
        assert [update["result"] for update in updates] == ["ready", {"inBlock": head}, {"finalized": head}]
        block = await raw.call("chain_getBlock", head)
        assert raw_extrinsic in block["block"]["extrinsics"]
        assert await raw.call("author_unwatchExtrinsic", identifier) is False


async def test_the_answer_comes_before_the_first_notification(node: RunningNode) -> None:
    async with raw_connection(node.url) as raw:
        await raw.call("chain_subscribeNewHeads")
        assert raw.notifications == []
        assert (await raw.notification())["result"]["number"] == "0x0"


async def test_one_connection_cannot_end_another_s_subscription(node: RunningNode) -> None:
    async with raw_connection(node.url) as owner, raw_connection(node.url) as other:
        identifier = await owner.call("chain_subscribeNewHeads")
        assert await other.call("chain_unsubscribeNewHeads", identifier) is False
        assert await owner.call("chain_unsubscribeNewHeads", identifier) is True
        await other.call("dev_newBlock")
        await owner.call("system_name")
        assert [note["params"]["result"]["number"] for note in owner.notifications] == ["0x0"]


async def test_subscriptions_are_bounded_for_each_connection(node: RunningNode) -> None:
    async with raw_connection(node.url) as greedy, raw_connection(node.url) as modest:
        for _ in range(MAX_SUBSCRIPTIONS_PER_SESSION):
            await greedy.call("chain_subscribeNewHeads")
        assert (await greedy.error("chain_subscribeNewHeads"))["code"] == -32_006
        extrinsic = to_hex(signer(node).remark())
        assert (await greedy.error("author_submitAndWatchExtrinsic", extrinsic))["code"] == -32_006
        assert await greedy.call("author_pendingExtrinsics") == []
        assert await modest.call("chain_subscribeNewHeads")


async def test_subscriptions_go_with_their_connection(node: RunningNode) -> None:
    async with raw_connection(node.url) as raw:
        await raw.call("chain_subscribeNewHeads")
    async with raw_connection(node.url) as raw:
        while await raw.call("dev_newBlock") and node.inside(lambda: len(node.node.server._hub)):
            pass


async def test_connections_are_bounded(node: RunningNode) -> None:
    async with AsyncExitStack() as stack:
        for _ in range(MAX_CONNECTIONS):
            await stack.enter_async_context(raw_connection(node.url))
        with pytest.raises(InvalidStatus, match="503"):
            await connect(node.url)
    while True:
        try:
            assert await is_alive(node)
            break
        except InvalidStatus:
            continue


async def test_a_message_that_is_too_large_closes_only_its_connection(node: RunningNode) -> None:
    async with raw_connection(node.url) as raw:
        await raw.socket.send("x" * (MAX_MESSAGE_BYTES + 1))
        with pytest.raises(ConnectionClosed, match="1009"):
            await raw.socket.recv()
    assert await is_alive(node)


async def test_an_extrinsic_that_is_too_large_is_refused(node: RunningNode) -> None:
    async with raw_connection(node.url) as raw:
        large = to_hex(signer(node).remark(bytes(MAX_EXTRINSIC_BYTES)))
        assert (await raw.error("author_submitExtrinsic", large))["code"] == 1010


async def test_a_subscriber_that_does_not_read_is_given_up_and_blocks_go_on(node: RunningNode) -> None:
    async with raw_connection(node.url) as slow, raw_connection(node.url) as busy:
        for _ in range(MAX_SUBSCRIPTIONS_PER_SESSION):
            await slow.call("chain_subscribeNewHeads")
        slow.socket.transport.pause_reading()
        blocks = 2 * MAX_QUEUED_NOTIFICATIONS // MAX_SUBSCRIPTIONS_PER_SESSION
        newest = await busy.call("dev_newBlock", blocks)
        assert newest["number"] == blocks
        slow.socket.transport.resume_reading()
        with pytest.raises(ConnectionClosed):
            await read_until_closed(slow)
    assert await is_alive(node)


async def test_a_web_page_cannot_connect(node: RunningNode) -> None:
    with pytest.raises(InvalidStatus, match="403"):
        await connect(node.url, additional_headers={"Origin": "https://evil.example"})


class FromAfar:
    """A connection whose other end is on another machine."""

    remote_address = ("203.0.113.9", 4711)


class FromHere:
    remote_address = ("127.0.0.1", 4711)


@pytest.mark.parametrize(("connection", "allowed"), [(FromAfar(), False), (FromHere(), True)])
async def test_dev_methods_are_for_this_machine_only(connection: object, allowed: bool) -> None:
    methods: dict[str, Method] = {name: lambda listener, params: "done" for name in ("dev_fund", "other")}
    session = Session(connection, methods)  # type: ignore[arg-type]
    assert session._call("other", Params(())) == "done"
    if allowed:
        assert session._call("dev_fund", Params(())) == "done"
    else:
        with pytest.raises(Exception, match="unsafe") as caught:
            session._call("dev_fund", Params(()))
        assert getattr(caught.value, "code", None) == METHOD_NOT_FOUND


async def test_a_fault_in_one_method_is_an_internal_error_of_that_request_only() -> None:
    def broken(listener: object, params: Params) -> None:
        raise ZeroDivisionError

    session = Session(FromHere(), {"broken": broken})  # type: ignore[arg-type]
    with pytest.raises(Exception, match="Internal error") as caught:
        session._call("broken", Params(()))
    assert getattr(caught.value, "code", None) == -32603


async def test_blocks_come_with_the_timer() -> None:
    with RunningNode(NodeConfig(port=0, block_seconds=0.01)) as node:
        async with raw_connection(node.url) as raw:
            await raw.call("chain_subscribeFinalizedHeads")
            numbers = [int((await raw.notification())["result"]["number"], 16) for _ in range(5)]
            assert numbers == list(range(numbers[0], numbers[0] + 5))
            extrinsic = to_hex(signer(node).remark())
            await raw.call("author_submitExtrinsic", extrinsic)
            while extrinsic not in (await raw.call("chain_getBlock"))["block"]["extrinsics"]:
                await raw.notification()


async def test_every_method_that_is_listed_answers(node: RunningNode) -> None:
    async with raw_connection(node.url) as raw:
        methods = (await raw.call("rpc_methods"))["methods"]
        assert "state_call" in methods
        for method in methods:
            response = await asyncio.wait_for(raw.response(await raw.send(method)), 10)
            assert response.get("error", {}).get("code") in (None, -32602), method
