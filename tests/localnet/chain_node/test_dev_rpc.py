from typing import Any

import bittensor as bt
import pytest
from bittensor.sp_core import Keypair

from localnet.chain_node import dev_client
from localnet.chain_node.accounts import MAX_BALANCE_RAO
from localnet.chain_node.dev_rpc import MAX_BLOCKS_PER_REQUEST
from tests.localnet.chain_node.raw_connection import raw_connection
from tests.localnet.chain_node.running_node import NETUID, TAO, RunningNode

ALICE, BOB, CAROL = (Keypair.create_from_uri(f"//{name}").ss58_address for name in ("Alice", "Bob", "Carol"))


async def test_funding_adds_up_and_is_in_a_block(node: RunningNode) -> None:
    before = (await dev_client.new_blocks(node.url)).number
    assert await dev_client.fund(node.url, ALICE, 3 * TAO) == 3 * TAO
    assert await dev_client.fund(node.url, ALICE, TAO) == 4 * TAO
    assert (await dev_client.new_blocks(node.url)).number == before + 3


async def test_registering_gives_uids_in_order_and_again_updates(node: RunningNode) -> None:
    assert await dev_client.register_neuron(node.url, NETUID, ALICE, CAROL) == 0
    assert await dev_client.register_neuron(node.url, NETUID, BOB, CAROL, stake_rao=7) == 1
    again = await dev_client.register_neuron(node.url, NETUID, ALICE, CAROL, validator_permit=True)
    assert again == 0
    async with bt.Client(node.url, fallback_endpoints=[], archive_endpoints=[]) as client:
        metagraph = await client.subnets.metagraph(NETUID)
        assert [n.validator_permit for n in metagraph.neurons] == [True, False]
        assert [n.total_stake.rao for n in metagraph.neurons] == [0, 7]
        assert {n.coldkey for n in metagraph.neurons} == {CAROL}


async def test_a_hotkey_of_another_coldkey_is_refused(node: RunningNode) -> None:
    await dev_client.register_neuron(node.url, NETUID, ALICE, BOB)
    with pytest.raises(dev_client.DevNodeError, match="another coldkey"):
        await dev_client.register_neuron(node.url, NETUID, ALICE, CAROL)


async def test_a_full_subnet_is_refused(node: RunningNode) -> None:
    await dev_client.set_hyperparameter(node.url, NETUID, "max_allowed_uids", 1)
    await dev_client.register_neuron(node.url, NETUID, ALICE, CAROL)
    with pytest.raises(dev_client.DevNodeError, match="full"):
        await dev_client.register_neuron(node.url, NETUID, BOB, CAROL)


async def test_blocks_are_made_by_the_count(node: RunningNode) -> None:
    assert (await dev_client.new_blocks(node.url)).number == 1
    newest = await dev_client.new_blocks(node.url, 10)
    async with raw_connection(node.url) as raw:
        assert newest == dev_client.BlockReference(11, await raw.call("chain_getHead"))


@pytest.mark.parametrize(
    ("method", "params"),
    [
        ("dev_newBlock", [0]),
        ("dev_newBlock", [MAX_BLOCKS_PER_REQUEST + 1]),
        ("dev_newBlock", ["3"]),
        ("dev_fund", [ALICE]),
        ("dev_fund", ["nobody", 5]),
        ("dev_fund", [ALICE, -1]),
        ("dev_fund", [ALICE, 1]),
        ("dev_fund", [ALICE, MAX_BALANCE_RAO + 1]),
        ("dev_registerNeuron", [NETUID + 1, ALICE, BOB, 0, False]),
        ("dev_registerNeuron", [NETUID, ALICE, BOB, 0]),
        ("dev_registerNeuron", [NETUID, ALICE, BOB, -5, False]),
        ("dev_registerNeuron", [NETUID, ALICE, BOB, 0, 1]),
        ("dev_setHyperparameter", [NETUID, "no_such_thing", 1]),
        ("dev_setHyperparameter", [NETUID, "tempo", 70_000]),
        ("dev_setHyperparameter", [NETUID, "tempo", -1]),
        ("dev_setHyperparameter", [NETUID, "tempo", "12"]),
        ("dev_setHyperparameter", [NETUID, "tempo", True]),
        ("dev_setHyperparameter", [NETUID, "tempo", None]),
        ("dev_setHyperparameter", [NETUID, "liquid_alpha_enabled", 1]),
        ("dev_setHyperparameter", [NETUID + 1, "tempo", 5]),
    ],
)
async def test_what_makes_no_sense_is_refused_and_changes_nothing(
    node: RunningNode, method: str, params: list[Any]
) -> None:
    async with raw_connection(node.url) as raw:
        head = await raw.call("chain_getHead")
        assert (await raw.error(method, *params))["code"] == -32602
        assert await raw.call("chain_getHead") == head


async def test_nobody_is_funded_with_more_than_there_is(node: RunningNode) -> None:
    await dev_client.fund(node.url, ALICE, MAX_BALANCE_RAO)
    with pytest.raises(dev_client.DevNodeError, match="more TAO than there is"):
        await dev_client.fund(node.url, ALICE, 1)
