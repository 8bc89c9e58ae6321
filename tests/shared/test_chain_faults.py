"""What half-dead nodes do to the chain client: a proxy misbehaves between the real SDK and a real node."""

import asyncio
import json
import logging
from collections.abc import AsyncIterator
from http import HTTPStatus
from pathlib import Path
from typing import Any

import pytest
from websockets.asyncio.server import ServerConnection, serve

from localnet.chain_node.genesis import put_hyperparameter
from localnet.chain_node.ledger import Ledger
from localnet.chain_node.node import listening_url
from shared.chain import SubtensorChain
from shared.errors import ChainError, ChainUnavailable, OutcomeUnknown
from tests.localnet.chain_node.running_node import NETUID
from tests.shared.chain_parties import SHORT, Parties, parties
from tests.shared.misbehaving_node import SUBMIT, MisbehavingNode, Request, misbehaving

UNHURRIED_S = 30.0
"""Far more than a machine of any load needs for what must not wait for a deadline."""


@pytest.fixture
async def around(tmp_path: Path) -> AsyncIterator[Parties]:
    async with parties(tmp_path) as built:
        await built.chain(built.node.url).head()
        yield built


@pytest.fixture
async def proxy(around: Parties) -> AsyncIterator[MisbehavingNode]:
    async with misbehaving(around.node.url) as built:
        yield built


async def calls_of(chain: SubtensorChain) -> None:
    """Every call there is."""
    for call in (
        chain.neurons(),
        chain.head(),
        chain.block(1),
        chain.blocks([1, 2]),
        chain.serve_axon("127.0.0.1", 8091),
        chain.set_weights({1: 65535}),
        chain.weights(),
        chain.weights_rate_limit(),
        chain.set_commitment(b"root"),
        chain.commitments(),
    ):
        with pytest.raises(ChainUnavailable):
            await call


async def test_every_call_ends_at_a_node_that_takes_the_connection_and_then_says_nothing(
    around: Parties, proxy: MisbehavingNode
) -> None:
    proxy.silent = True
    chain = around.chain(proxy.url, wallet=around.validator, deadlines=type(SHORT)(0.1, 0.1, 0.1))
    await calls_of(chain)


async def test_a_node_that_says_nothing_is_left_for_the_next_which_is_kept(
    around: Parties, proxy: MisbehavingNode
) -> None:
    proxy.silent = True
    chain = around.chain(proxy.url, around.node.url)
    assert [neuron.uid for neuron in await chain.neurons()] == [0, 1]
    asked = proxy.asked.total()
    await chain.head()
    await chain.weights()
    assert proxy.asked.total() == asked


async def test_a_node_that_freezes_in_the_middle_of_a_call_is_left_for_the_next(
    around: Parties, proxy: MisbehavingNode
) -> None:
    chain = around.chain(proxy.url, around.node.url)
    await chain.head()
    proxy.silent_on = {"state_call"}
    assert len(await chain.neurons()) == 2
    assert proxy.asked["state_call"] == 1


async def test_a_node_that_breaks_the_connection_is_left_for_the_next_at_once(
    around: Parties, proxy: MisbehavingNode
) -> None:
    chain = around.chain(proxy.url, around.node.url)
    await chain.head()
    proxy.drop_after = {"state_call"}
    assert len(await chain.neurons()) == 2
    assert proxy.asked["state_call"] == 1


async def test_a_node_that_recovers_is_used_again_with_a_new_connection(
    around: Parties, proxy: MisbehavingNode
) -> None:
    chain = around.chain(proxy.url)
    proxy.silent_on = {"state_call"}
    with pytest.raises(
        ChainUnavailable, match=r"reading the metagraph failed at ws://127\.0\.0\.1:\d+: no answer"
    ):
        await chain.neurons()
    proxy.silent_on = set()
    around.time.pass_s(60)
    assert len(await chain.neurons()) == 2


async def test_an_endpoint_that_fails_again_and_again_rests_and_callers_are_told_at_once(
    around: Parties, proxy: MisbehavingNode
) -> None:
    chain = around.chain("ws://127.0.0.1:9")
    for _ in range(3):
        with pytest.raises(ChainUnavailable):
            await chain.head()
    words = r"no endpoint answers; the next is tried in \d+ s; last, .* failed at ws://127\.0\.0\.1:9: "
    with pytest.raises(ChainUnavailable, match=words):
        await chain.head()


@pytest.mark.parametrize(
    "nonsense",
    [
        "not json",
        "[1, 2, 3]",
        '{"jsonrpc": "2.0", "id": ID}',
        '{"jsonrpc": "2.0", "id": ID, "result": null}',
        '{"jsonrpc": "2.0", "id": ID, "result": 5}',
        '{"jsonrpc": "2.0", "id": ID, "result": []}',
        '{"jsonrpc": "2.0", "id": ID, "result": {}}',
        '{"jsonrpc": "2.0", "id": ID, "result": "0x00"}',
        '{"jsonrpc": "2.0", "id": ID, "result": "0xffffffffffffffffffffffffffffffff"}',
        '{"jsonrpc": "2.0", "id": ID, "result": {"header": {"number": "zz"}}}',
        '{"jsonrpc": "2.0", "id": ID, "error": {"code": -32603, "message": "Internal error"}}',
        '{"jsonrpc": "2.0", "id": ID, "error": 7}',
    ],
)
async def test_nonsense_is_trouble_of_one_endpoint_and_the_next_is_asked(
    around: Parties, proxy: MisbehavingNode, nonsense: str
) -> None:
    async def all_calls(chain: SubtensorChain) -> None:
        await chain.head()
        await chain.neurons()
        await chain.weights()

    alone, with_another = around.chain(proxy.url), around.chain(proxy.url, around.node.url)
    await all_calls(alone)
    await all_calls(with_another)
    proxy.answer = lambda request: nonsense.replace("ID", json.dumps(request["id"]))
    words_of_a_node = '"error"' in nonsense or "null" in nonsense
    with pytest.raises(ChainError if words_of_a_node else ChainUnavailable):
        await alone.head()
    await all_calls(with_another)


async def test_an_answer_lost_after_the_commitment_arrived_is_looked_up_and_not_sent_twice(
    around: Parties, proxy: MisbehavingNode
) -> None:
    chain = around.chain(proxy.url, wallet=around.miner)
    proxy.drop_after = {SUBMIT}
    await chain.set_commitment(b"root")
    assert (await chain.commitments())[around.miner.hotkey.ss58_address] == b"root"
    assert around.nonce(around.miner) == 1


async def test_an_answer_lost_after_the_axon_arrived_is_looked_up_and_not_sent_twice(
    around: Parties, proxy: MisbehavingNode
) -> None:
    chain = around.chain(proxy.url, wallet=around.miner)
    proxy.drop_after = {SUBMIT}
    await chain.serve_axon("127.0.0.1", 8091)
    assert around.nonce(around.miner) == 1


async def test_a_submission_that_never_reached_the_node_is_sent_again(
    around: Parties, proxy: MisbehavingNode
) -> None:
    chain = around.chain(proxy.url, around.node.url, wallet=around.miner)
    await chain.head()
    proxy.silent_on = {SUBMIT}
    await chain.set_commitment(b"root")
    assert proxy.asked[SUBMIT] == 1
    assert (await chain.commitments())[around.miner.hotkey.ss58_address] == b"root"


async def test_a_node_that_fails_before_anything_was_sent_leaves_nothing_unknown(
    around: Parties, proxy: MisbehavingNode
) -> None:
    chain = around.chain(proxy.url, wallet=around.validator)
    proxy.silent_on = {"account_nextIndex"}
    with pytest.raises(ChainUnavailable) as failed:
        await chain.set_weights({1: 65535})
    assert not isinstance(failed.value, OutcomeUnknown)
    assert around.nonce(around.validator) == 0


async def test_a_connection_that_died_unnoticed_costs_a_submission_nothing(
    around: Parties, proxy: MisbehavingNode
) -> None:
    chain = around.chain(proxy.url, around.node.url, wallet=around.validator)
    await chain.head()
    proxy.silent = True
    await chain.set_weights({1: 65535})
    assert await chain.weights() == {0: {1: 65535}}


async def test_weights_whose_answer_is_lost_are_not_called_refused(
    around: Parties, proxy: MisbehavingNode
) -> None:
    chain = around.chain(proxy.url, wallet=around.validator)
    proxy.drop_after = {SUBMIT}
    with pytest.raises(OutcomeUnknown, match="setting weights"):
        await chain.set_weights({1: 65535})
    assert await chain.weights() == {0: {1: 65535}}


async def test_weights_whose_inclusion_is_not_heard_of_are_not_called_refused(
    around: Parties, proxy: MisbehavingNode
) -> None:
    chain = around.chain(proxy.url, wallet=around.validator)
    proxy.told = lambda notification: None
    with pytest.raises(OutcomeUnknown, match="setting weights"):
        await chain.set_weights({1: 65535})
    assert await chain.weights() == {0: {1: 65535}}


@pytest.mark.parametrize(
    "status", ["dropped", "invalid", {"usurped": "0x00"}, {"retracted": "0x00"}, "finalityTimeout"]
)
async def test_an_extrinsic_that_the_node_lost_sight_of_may_still_be_on_chain(
    around: Parties, proxy: MisbehavingNode, status: object
) -> None:
    def lose_sight(notification: Request) -> Request:
        params = {**notification["params"], "result": status}
        return {**notification, "params": params}

    chain = around.chain(proxy.url, wallet=around.validator)
    proxy.told = lose_sight
    with pytest.raises(OutcomeUnknown):
        await chain.set_weights({1: 65535})
    await chain.set_commitment(b"root")
    assert around.nonce(around.validator) == 2, "the commitment was looked up, and not sent twice"


def standing(caplog: pytest.LogCaptureFixture) -> int:
    return caplog.text.count("no endpoint that answers follows the chain")


async def test_an_endpoint_whose_head_stands_is_left_for_one_that_is_ahead(
    around: Parties, proxy: MisbehavingNode, caplog: pytest.LogCaptureFixture
) -> None:
    chain = around.chain(proxy.url, around.node.url)
    before = await chain.head()
    proxy.standing = True
    newest = await around.blocks(10)
    with caplog.at_level(logging.WARNING):
        assert (await chain.head()).number == newest
    assert f"block {before.number} has been the newest for 120 s at {proxy.url}; going on at" in caplog.text
    assert chain.trouble is None


async def test_the_metagraph_of_an_endpoint_that_stands_is_not_used_either(
    around: Parties, proxy: MisbehavingNode
) -> None:
    chain = around.chain(proxy.url, around.node.url)
    await chain.neurons()
    proxy.standing = True
    await around.blocks(10)
    await around.chain(around.node.url, wallet=around.miner).serve_axon("127.0.0.1", 8091)
    await around.blocks()
    assert (await chain.neurons())[1].axon == "127.0.0.1:8091"


async def test_an_endpoint_far_behind_the_clock_is_left_for_one_that_is_not(
    around: Parties, proxy: MisbehavingNode
) -> None:
    await around.chain(proxy.url).head()
    proxy.standing = True
    newest = await around.blocks(20)
    chain = around.chain(proxy.url, around.node.url)
    assert (await chain.head()).number == newest, "at the first look, without waiting for it to move"


async def test_a_chain_that_stands_everywhere_is_told_once_and_so_is_its_return(
    around: Parties, proxy: MisbehavingNode, caplog: pytest.LogCaptureFixture
) -> None:
    chain = around.chain(proxy.url, around.node.url)
    with caplog.at_level(logging.INFO):
        for _ in range(4):
            await chain.head()
            around.time.pass_s(40)
        assert standing(caplog) == 1
        assert "has been the newest for" in str(chain.trouble)
        await around.blocks()
        await chain.head()
    assert chain.trouble is None
    assert "the chain is followed again" in caplog.text


async def test_the_others_are_compared_with_once_a_minute_and_not_at_every_call(
    around: Parties, proxy: MisbehavingNode
) -> None:
    async with misbehaving(around.node.url) as other:
        chain = around.chain(proxy.url, other.url)
        await chain.head()
        around.time.pass_s(100)
        for _ in range(5):
            await chain.head()
            around.time.pass_s(1)
        assert other.asked["chain_getHeader"] == 1


async def test_a_node_that_is_asked_too_much_is_not_asked_again_at_once(around: Parties) -> None:
    asked = 0

    def refuse(connection: ServerConnection, request: Any) -> Any:
        nonlocal asked
        asked += 1
        return connection.respond(HTTPStatus.TOO_MANY_REQUESTS, "slow down")

    async def never(connection: ServerConnection) -> None:
        raise AssertionError("no connection is let in")

    async with serve(never, "127.0.0.1", 0, process_request=refuse) as server:
        chain = around.chain(listening_url(server))
        for _ in range(3):
            with pytest.raises(ChainUnavailable, match=r"HTTP 429.*slow down"):
                await chain.head()
        assert asked == 1
        around.time.pass_s(15)
        with pytest.raises(ChainUnavailable):
            await chain.head()
        assert asked == 2


async def test_what_was_given_up_leaves_no_task_and_no_connection_behind(
    around: Parties, proxy: MisbehavingNode
) -> None:
    before = asyncio.all_tasks()
    chain = around.chain(proxy.url, wallet=around.miner)
    await chain.head()
    serving = asyncio.all_tasks() - before
    proxy.silent_on = {"state_call"}
    with pytest.raises(ChainUnavailable):
        await chain.neurons()
    await chain.close()
    async with asyncio.timeout(UNHURRIED_S):
        while proxy.open or asyncio.all_tasks() - before:
            await asyncio.sleep(0)
    assert serving


async def test_a_cancelled_call_ends_at_once(around: Parties, proxy: MisbehavingNode) -> None:
    chain = around.chain(proxy.url, deadlines=type(SHORT)(UNHURRIED_S, UNHURRIED_S, UNHURRIED_S))
    await chain.head()
    proxy.silent = True
    asked = proxy.asked.total()
    reading = asyncio.create_task(chain.neurons())
    while proxy.asked.total() == asked:
        await asyncio.sleep(0)
    reading.cancel()
    done, _ = await asyncio.wait({reading}, timeout=UNHURRIED_S / 2)
    assert done


def refusing(times: int, error: dict[str, object]) -> "Refusing":
    return Refusing(times, error)


class Refusing:
    """Answers so many submissions with an error of the pool."""

    def __init__(self, times: int, error: dict[str, object]) -> None:
        self.left, self.error = times, error

    def __call__(self, request: Request) -> str | None:
        if request["method"] != SUBMIT or not self.left:
            return None
        self.left -= 1
        return json.dumps({"jsonrpc": "2.0", "id": request["id"], "error": self.error})


FULL: dict[str, object] = {
    "code": 1016,
    "message": "Immediately Dropped",
    "data": "The transaction couldn't enter the pool because of the limit",
}
OUTDATED: dict[str, object] = {
    "code": 1010,
    "message": "Invalid Transaction",
    "data": "Transaction is outdated",
}
LOW: dict[str, object] = {"code": 1014, "message": "Priority is too low: (0 vs 0)"}


@pytest.mark.parametrize(("error", "rests"), [(FULL, True), (LOW, True), (OUTDATED, False)])
async def test_what_passes_is_tried_again_at_once_or_in_the_next_block(
    around: Parties, proxy: MisbehavingNode, error: dict[str, object], rests: bool
) -> None:
    proxy.answer = refusing(2, error)
    chain = around.chain(proxy.url, wallet=around.validator)
    await chain.set_weights({1: 65535})
    assert around.time.slept_s == [12.0, 12.0] * rests
    assert await chain.weights() == {0: {1: 65535}}


async def test_weights_are_built_again_when_the_subnet_turns_to_commitments_meanwhile(
    around: Parties, proxy: MisbehavingNode
) -> None:
    def turn(ledger: Ledger) -> None:
        put_hyperparameter(ledger, NETUID, "commit_reveal_weights_enabled", True)

    def turn_before_the_first(request: Request) -> None:
        if request["method"] == SUBMIT and proxy.asked[SUBMIT] == 1:
            around.node.inside(lambda: around.node.node.producer.produce(turn))

    proxy.answer = turn_before_the_first
    chain = around.chain(proxy.url, wallet=around.validator)
    await chain.set_weights({1: 65535})
    assert await chain.weights() == {}
    assert list(await chain.weight_commits()) == [around.validator.hotkey.ss58_address]
    assert around.nonce(around.validator) == 2


async def test_a_pool_that_stays_full_is_given_up_with_its_name(
    around: Parties, proxy: MisbehavingNode
) -> None:
    proxy.answer = refusing(100, FULL)
    chain = around.chain(proxy.url, wallet=around.validator)
    with pytest.raises(ChainError) as refused:
        await chain.set_weights({1: 65535})
    assert refused.value.code == "PoolFull"
    assert proxy.asked[SUBMIT] == 4
    assert not isinstance(refused.value, ChainUnavailable)


async def test_a_nonce_that_another_process_used_is_read_again(around: Parties) -> None:
    ours = around.chain(around.node.url, wallet=around.validator)
    theirs = around.chain(around.node.url, wallet=around.validator)
    for number in range(3):
        await ours.set_commitment(b"ours %d" % number)
        await theirs.set_commitment(b"theirs %d" % number)
    assert around.nonce(around.validator) == 6


async def test_submissions_of_one_process_wait_for_each_other(
    around: Parties, proxy: MisbehavingNode
) -> None:
    chain = around.chain(proxy.url, wallet=around.validator)
    other = around.chain(proxy.url, wallet=around.validator)
    await asyncio.gather(
        chain.set_weights({1: 65535}), other.set_commitment(b"root"), chain.serve_axon("127.0.0.1", 8091)
    )
    assert around.nonce(around.validator) == 3
    assert proxy.asked[SUBMIT] == 3, "none was refused for its nonce"
