"""The unmodified bittensor SDK against the node, over a real websocket."""

import asyncio
from contextlib import aclosing
from datetime import UTC, datetime

import bittensor as bt
import pytest

from localnet.chain_node import dev_client
from localnet.chain_node.chain import KEPT_STATES_BLOCKS
from tests.localnet.chain_node.conftest import TEMPO_BLOCKS, WEIGHTS_RATE_LIMIT_BLOCKS, WalletMaker
from tests.localnet.chain_node.running_node import NETUID, TAO, RunningNode, wait


def test_an_empty_subnet_has_a_metagraph(client: bt.Subtensor) -> None:
    metagraph = client.subnets.metagraph(NETUID)
    assert (metagraph.netuid, metagraph.num_uids, metagraph.tempo) == (NETUID, 0, TEMPO_BLOCKS)
    assert metagraph.neurons == []


def test_a_subnet_that_does_not_exist_has_none(client: bt.Subtensor) -> None:
    assert client.subnets.metagraph(NETUID + 1) is None
    assert client.read("subnet_hyperparameters", netuid=NETUID + 1) is None


def test_neurons_are_listed_with_stake_and_permit(
    client: bt.Subtensor, validator: bt.Wallet, miner: bt.Wallet
) -> None:
    first, second = client.subnets.metagraph(NETUID).neurons
    assert (first.hotkey, first.coldkey) == (validator.hotkey.ss58_address, validator.coldkeypub.ss58_address)
    assert (first.validator_permit, first.total_stake.rao) == (True, 5_000 * TAO)
    assert (second.hotkey, second.validator_permit, second.total_stake.rao) == (
        miner.hotkey.ss58_address,
        False,
        0,
    )
    assert [n.uid for n in client.neurons.all(NETUID)] == [0, 1]
    assert client.read("uid", hotkey_ss58=miner.hotkey.ss58_address, netuid=NETUID) == 1
    assert client.read("hotkey_owner", hotkey_ss58=miner.hotkey.ss58_address) == miner.coldkeypub.ss58_address
    assert client.read("netuids_for_hotkey", hotkey_ss58=miner.hotkey.ss58_address) == [NETUID]


def test_stake_is_shown_for_its_coldkey(client: bt.Subtensor, validator: bt.Wallet) -> None:
    (position,) = client.staking.stake_for_coldkey(validator.coldkeypub.ss58_address)
    assert (position.hotkey, position.stake.rao) == (validator.hotkey.ss58_address, 5_000 * TAO)
    assert client.read(
        "stake",
        coldkey_ss58=validator.coldkeypub.ss58_address,
        hotkey_ss58=validator.hotkey.ss58_address,
        netuid=NETUID,
    ).rao == (5_000 * TAO)


def test_a_served_axon_is_in_the_metagraph(client: bt.Subtensor, miner: bt.Wallet) -> None:
    result = client.execute(bt.ServeAxon(netuid=NETUID, ip="203.0.113.7", port=8091), miner)
    assert result.success, result.message
    assert client.subnets.metagraph(NETUID).neuron(1).axon == "203.0.113.7:8091"
    assert client.subnets.metagraph(NETUID).neuron(0).axon is None


@pytest.mark.parametrize(("ip", "shown"), [("127.0.0.1", "127.0.0.1:9"), ("2001:db8::1", "[2001:db8::1]:9")])
def test_loopback_and_ipv6_axons_are_accepted(
    client: bt.Subtensor, miner: bt.Wallet, ip: str, shown: str
) -> None:
    assert client.execute(bt.ServeAxon(netuid=NETUID, ip=ip, port=9), miner).success
    assert client.subnets.metagraph(NETUID).neuron(1).axon == shown


def test_an_axon_can_be_reset(node: RunningNode, client: bt.Subtensor, miner: bt.Wallet) -> None:
    assert client.execute(bt.ServeAxon(netuid=NETUID, ip="203.0.113.7", port=8091), miner).success
    node.blocks(5)
    assert client.execute(bt.ResetAxon(netuid=NETUID), miner).success
    assert client.subnets.metagraph(NETUID).neuron(1).axon is None


def test_weights_are_set_and_read(client: bt.Subtensor, validator: bt.Wallet, miner: bt.Wallet) -> None:
    result = client.execute(bt.SetWeights(netuid=NETUID, weights={0: 0.25, 1: 0.75}), validator)
    assert result.success, result.message
    row = client.weights.weights(NETUID)[0]
    assert row == {0: pytest.approx(0.25, abs=1e-4), 1: pytest.approx(0.75, abs=1e-4)}
    assert client.epochs.blocks_since_last_update(NETUID, 0) == 0
    assert client.subnets.metagraph(NETUID).neuron(0).last_update == client.block


def test_weights_can_be_set_again_once_the_rate_limit_has_passed(
    node: RunningNode, client: bt.Subtensor, validator: bt.Wallet, miner: bt.Wallet
) -> None:
    assert client.execute(bt.SetWeights(netuid=NETUID, weights={1: 1.0}), validator).success
    node.blocks(WEIGHTS_RATE_LIMIT_BLOCKS)
    assert client.execute(bt.SetWeights(netuid=NETUID, weights={0: 1.0}), validator).success
    assert client.weights.weights(NETUID)[0] == {0: 1.0}


def test_with_commit_reveal_the_sdk_commits_and_the_commit_is_visible(
    node: RunningNode, client: bt.Subtensor, validator: bt.Wallet, miner: bt.Wallet
) -> None:
    node.set("commit_reveal_weights_enabled", True)
    assert client.subnets.commit_reveal_enabled(NETUID)
    result = client.execute(bt.SetWeights(netuid=NETUID, weights={1: 1.0}), validator)
    assert result.success, result.message
    (commits,) = client.weights.timelocked_weight_commits(NETUID).values()
    (commit,) = commits
    assert commit["hotkey"] == validator.hotkey.ss58_address
    assert commit["reveal_round"] == result.data["reveal_round"]
    assert commit["commit_block"] == client.block
    assert len(bytes.fromhex(commit["ciphertext"][2:])) > 100
    assert client.weights.weights(NETUID) == {}


def test_two_validators_commits_stand_side_by_side_and_old_ones_go(
    node: RunningNode, client: bt.Subtensor, validator: bt.Wallet, miner: bt.Wallet
) -> None:
    node.set("commit_reveal_weights_enabled", True)
    node.register(miner, permit=True)
    for wallet in (validator, miner):
        assert client.execute(bt.SetWeights(netuid=NETUID, weights={1: 1.0}), wallet).success
    ((epoch, commits),) = client.weights.timelocked_weight_commits(NETUID).items()
    assert [c["hotkey"] for c in commits] == [w.hotkey.ss58_address for w in (validator, miner)]
    node.blocks(15 * TEMPO_BLOCKS)
    assert epoch in client.weights.timelocked_weight_commits(NETUID)
    node.blocks(2 * TEMPO_BLOCKS)
    assert client.weights.timelocked_weight_commits(NETUID) == {}


def test_a_commitment_is_published_and_replaced(client: bt.Subtensor, miner: bt.Wallet) -> None:
    for words in (b"first", b"the second one", b"0x6869"):
        info = {"fields": [{f"Raw{len(words)}": list(words)}]}
        call = bt.calls.Commitments.set_commitment(netuid=NETUID, info=info)
        result = client.submit_call(call, miner, signer="hotkey")
        assert result.success, result.message
        commitment = client.subnets.commitments(NETUID)[miner.hotkey.ss58_address]
        assert (commitment.value, commitment.block) == (words.decode(), client.block)
        assert client.subnets.metagraph(NETUID).neuron(1).commitment.value == words.decode()


def test_a_commitment_that_looks_like_hex_is_kept_as_it_was_sent(
    client: bt.Subtensor, miner: bt.Wallet
) -> None:
    words = b"0x" + b"6869" * 50
    call = bt.calls.Commitments.set_commitment(netuid=NETUID, info={"fields": [{"BigRaw": list(words)}]})
    assert client.submit_call(call, miner, signer="hotkey").success
    item = bt.storage.Commitments.CommitmentOf
    (field,) = client.query(item, [NETUID, miner.hotkey.ss58_address])["info"]["fields"]
    assert field["BigRaw"] == words.decode()


def test_registration_burns_the_cost_and_gives_the_next_uid(
    node: RunningNode, client: bt.Subtensor, validator: bt.Wallet, stranger: bt.Wallet
) -> None:
    """The SDK sends registrations encrypted: this goes through the node's shield."""
    coldkey = stranger.coldkeypub.ss58_address
    node.fund(coldkey, 3 * TAO)
    node.set("burn", 2 * TAO)
    result = client.execute(bt.BurnedRegister(netuid=NETUID), stranger)
    assert result.success, result.message
    assert result.data["shielded"] is True
    assert client.balances.get(coldkey).rao == 1 * TAO
    neuron = client.subnets.metagraph(NETUID).by_hotkey(stranger.hotkey.ss58_address)
    assert (neuron.uid, neuron.coldkey, neuron.validator_permit) == (1, coldkey, False)
    assert neuron.block_at_registration == client.block


def test_registration_can_be_sent_in_the_clear(
    node: RunningNode, client: bt.Subtensor, stranger: bt.Wallet
) -> None:
    node.fund(stranger.coldkeypub.ss58_address, 3 * TAO)
    hotkey = stranger.hotkey.ss58_address
    call = bt.calls.SubtensorModule.burned_register(netuid=NETUID, hotkey=hotkey)
    assert client.submit_call(call, stranger).success
    assert client.subnets.metagraph(NETUID).hotkeys == [hotkey]


def test_in_a_full_subnet_the_oldest_neuron_makes_room_and_takes_its_traces_along(
    node: RunningNode, client: bt.Subtensor, validator: bt.Wallet, miner: bt.Wallet, stranger: bt.Wallet
) -> None:
    node.set("max_allowed_uids", 2)
    node.set("immunity_period", 3)
    assert client.execute(bt.ServeAxon(netuid=NETUID, ip="203.0.113.7", port=8091), miner).success
    assert client.execute(bt.SetWeights(netuid=NETUID, weights={1: 1.0}), miner).success
    node.fund(stranger.coldkeypub.ss58_address, 3 * TAO)
    assert client.execute(bt.BurnedRegister(netuid=NETUID), stranger).success
    first, second = client.subnets.metagraph(NETUID).neurons
    assert first.hotkey == validator.hotkey.ss58_address
    assert (second.hotkey, second.axon, second.last_update) == (stranger.hotkey.ss58_address, None, 0)
    assert client.weights.weights(NETUID) == {}
    assert client.read("uid", hotkey_ss58=miner.hotkey.ss58_address, netuid=NETUID) is None


def test_tao_moves_between_accounts(client: bt.Subtensor, validator: bt.Wallet, stranger: bt.Wallet) -> None:
    source, destination = validator.coldkeypub.ss58_address, stranger.coldkeypub.ss58_address
    result = client.execute(bt.Transfer(dest_ss58=destination, amount_tao=1.5), validator)
    assert result.success, result.message
    balances = client.balances.balances([source, destination])
    assert balances[source].rao == 1_000 * TAO - 3 * TAO // 2
    assert balances[destination].rao == 3 * TAO // 2


def test_a_whole_balance_can_be_moved(client: bt.Subtensor, miner: bt.Wallet, stranger: bt.Wallet) -> None:
    destination = stranger.coldkeypub.ss58_address
    intent = bt.TransferAll(dest_ss58=destination, keep_alive=False)
    assert client.execute(intent, miner).success
    assert client.balances.get(miner.coldkeypub.ss58_address).rao == 0
    assert client.balances.get(destination).rao == 1_000 * TAO


def test_hyperparameters_are_read_as_they_were_set(node: RunningNode, client: bt.Subtensor) -> None:
    values = {"tempo": 77, "burn_increase_mult": 1 << 63, "liquid_alpha_enabled": True}
    for name, value in values.items():
        node.set(name, value)
    read = client.read("subnet_hyperparameters", netuid=NETUID)
    assert {name: read[name] for name in values} == values
    assert client.query(bt.storage.SubtensorModule.Tempo, [NETUID]) == 77


def test_the_epoch_clock_ticks(node: RunningNode, client: bt.Subtensor) -> None:
    node.blocks(TEMPO_BLOCKS + 1)
    status = client.read("epoch_status", netuid=NETUID)
    assert (status["epoch_index"], status["last_epoch_block"]) == (1, TEMPO_BLOCKS)
    assert status["next_epoch_start_block"] == 2 * TEMPO_BLOCKS
    assert status["blocks_since_last_step"] == 1


def test_the_time_of_a_block_is_its_timestamp(node: RunningNode, client: bt.Subtensor) -> None:
    node.clock.now_ms = 1_750_000_000_123
    number = node.blocks().number
    node.clock.now_ms += 12_000
    node.blocks()
    info = client.block_info(number)
    assert info.timestamp == datetime.fromtimestamp(1_750_000_000.123, UTC)
    assert client.query(bt.storage.Timestamp.Now, block=number) == 1_750_000_000_123


def test_state_at_a_past_block_is_what_it_was(
    node: RunningNode, client: bt.Subtensor, validator: bt.Wallet, miner: bt.Wallet
) -> None:
    before = client.block
    assert client.execute(bt.SetWeights(netuid=NETUID, weights={1: 1.0}), validator).success
    assert client.execute(bt.ServeAxon(netuid=NETUID, ip="203.0.113.7", port=8091), miner).success
    node.blocks(3)
    assert client.at(before).weights.weights(NETUID) == {}
    assert client.at(before + 1).weights.weights(NETUID) == {0: {1: 1.0}}
    assert client.at(before + 1).subnets.metagraph(NETUID).neuron(1).axon is None
    assert client.at(before + 2).subnets.metagraph(NETUID).neuron(1).axon == "203.0.113.7:8091"


def test_state_that_is_too_old_is_discarded_and_the_sdk_says_so(
    node: RunningNode, client: bt.Subtensor
) -> None:
    node.blocks(KEPT_STATES_BLOCKS + 1)
    assert client.at(1).subnets.metagraph(NETUID) is not None
    with pytest.raises(bt.ChainError, match="State discarded for 0x"):
        client.at(0).query(bt.storage.Timestamp.Now)
    assert client.block_info(KEPT_STATES_BLOCKS).number == KEPT_STATES_BLOCKS


def test_new_heads_arrive_in_order(node: RunningNode) -> None:
    async def follow() -> list[int]:
        numbers: list[int] = []
        async with (
            bt.Client(node.url, fallback_endpoints=[], archive_endpoints=[]) as client,
            aclosing(client.blocks()) as headers,
        ):
            async for header in headers:
                numbers.append(header.number)
                if len(numbers) == 4:
                    break
                await dev_client.new_blocks(node.url)
        return numbers

    assert wait(follow()) == [0, 1, 2, 3]


def test_waiting_for_a_block_ends_when_it_comes(node: RunningNode) -> None:
    async def wait_for_block() -> int:
        async with bt.Client(node.url, fallback_endpoints=[], archive_endpoints=[]) as client:
            waiting = asyncio.create_task(client.wait_for_block(3, timeout=60))
            await dev_client.new_blocks(node.url, 3)
            return int((await waiting).number)

    assert wait(wait_for_block()) == 3


def test_concurrent_extrinsics_of_one_signer_get_consecutive_nonces(
    node: RunningNode, validator: bt.Wallet, make_wallet: WalletMaker
) -> None:
    destinations = [make_wallet(f"payee{n}").coldkeypub.ss58_address for n in range(6)]

    async def pay_all() -> list[bool]:
        async with bt.Client(node.url, fallback_endpoints=[], archive_endpoints=[]) as client:
            intents = [bt.Transfer(dest_ss58=address, amount_tao=1) for address in destinations]
            results = await asyncio.gather(*(client.execute(intent, validator) for intent in intents))
            return [result.success for result in results]

    assert wait(pay_all()) == [True] * 6
    assert {node.fund(address, 1_000) for address in destinations} == {TAO + 1_000}


def test_a_client_that_stays_connected_sees_blocks_made_by_others(
    node: RunningNode, client: bt.Subtensor
) -> None:
    before = client.block
    node.blocks(7)
    assert client.block == before + 7
