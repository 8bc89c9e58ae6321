"""Every way in which the chain refuses a call, by the name under which the SDK documents it."""

from collections.abc import Callable
from typing import Any

import bittensor as bt
import pytest
from bittensor.result import ErrorCode

from localnet.chain_node.pallet_tables import COMMITMENT_SPACE_BYTES, LEAST_COMMITMENT_BYTES
from tests.localnet.chain_node.conftest import WEIGHTS_RATE_LIMIT_BLOCKS
from tests.localnet.chain_node.running_node import NETUID, TAO, RunningNode

SetWeights = Callable[..., bt.ExtrinsicResult]


@pytest.fixture
def submit(client: bt.Subtensor) -> Callable[..., bt.ExtrinsicResult]:
    """Sends a raw call past the SDK's own checks."""

    def send(call: Any, wallet: bt.Wallet, signer: str = "hotkey") -> bt.ExtrinsicResult:
        return client.submit_call(call, wallet, signer=signer)

    return send


def weights_call(uids: list[int], values: list[int], **changed: int) -> Any:
    arguments = {"netuid": NETUID, "mecid": 0, "version_key": 0} | changed
    return bt.calls.SubtensorModule.set_mechanism_weights(dests=uids, weights=values, **arguments)


def commit_call(**changed: Any) -> Any:
    arguments = {"netuid": NETUID, "mecid": 0, "commit": bytes(range(200)), "reveal_round": 5}
    arguments = arguments | {"commit_reveal_version": 4} | changed
    return bt.calls.SubtensorModule.commit_timelocked_mechanism_weights(**arguments)


def axon_call(**changed: int) -> Any:
    arguments = {"netuid": NETUID, "version": 1, "ip": 0xCB007107, "port": 8091, "ip_type": 4, "protocol": 4}
    zeros = {"placeholder1": 0, "placeholder2": 0}
    return bt.calls.SubtensorModule.serve_axon(**(arguments | zeros | changed))


def assert_failed(result: bt.ExtrinsicResult, name: str, code: ErrorCode) -> None:
    assert not result.success
    assert (result.error.name, result.error.code) == (name, code)
    assert result.block_hash is not None, "the call must fail on chain, not before"


@pytest.mark.parametrize(
    ("call", "name", "code"),
    [
        (weights_call([0, 1], [1]), "WeightVecNotEqualSize", ErrorCode.INVALID_ARGUMENT),
        (weights_call([1, 1], [1, 2]), "DuplicateUids", ErrorCode.INVALID_ARGUMENT),
        (weights_call([9], [1]), "UidVecContainInvalidOne", ErrorCode.INVALID_ARGUMENT),
        (weights_call([0, 1, 2], [1, 2, 3]), "UidsLengthExceedUidsInSubNet", ErrorCode.LIMIT_EXCEEDED),
        (weights_call([1], [1], netuid=5), "SubnetNotExists", ErrorCode.SUBNET_NOT_EXISTS),
        (weights_call([1], [1], mecid=1), "MechanismDoesNotExist", ErrorCode.SUBNET_NOT_EXISTS),
        (commit_call(), "CommitRevealDisabled", ErrorCode.DISABLED),
    ],
)
def test_malformed_weights_are_refused(
    submit: SetWeights, validator: bt.Wallet, miner: bt.Wallet, call: Any, name: str, code: ErrorCode
) -> None:
    assert_failed(submit(call, validator), name, code)


def test_a_stranger_cannot_set_weights(client: bt.Subtensor, submit: SetWeights, stranger: bt.Wallet) -> None:
    with pytest.raises(bt.ChainError) as before_signing:
        client.execute(bt.SetWeights(netuid=NETUID, weights={0: 1.0}), stranger)
    assert before_signing.value.code is ErrorCode.NOT_REGISTERED
    result = submit(weights_call([], []), stranger)
    assert_failed(result, "HotKeyNotRegisteredInSubNet", ErrorCode.NOT_REGISTERED)


def test_weights_on_others_take_a_permit_and_on_oneself_do_not(
    client: bt.Subtensor, node: RunningNode, validator: bt.Wallet, miner: bt.Wallet
) -> None:
    result = client.execute(bt.SetWeights(netuid=NETUID, weights={0: 1.0}), miner)
    assert_failed(result, "NeuronNoValidatorPermit", ErrorCode.NOT_AUTHORIZED)
    assert client.execute(bt.SetWeights(netuid=NETUID, weights={1: 1.0}), miner).success
    node.blocks(WEIGHTS_RATE_LIMIT_BLOCKS)
    node.register(miner, permit=True)
    assert client.execute(bt.SetWeights(netuid=NETUID, weights={0: 1.0}), miner).success


def test_weights_are_not_set_more_often_than_the_rate_limit_allows(
    client: bt.Subtensor, node: RunningNode, submit: SetWeights, validator: bt.Wallet, miner: bt.Wallet
) -> None:
    assert client.execute(bt.SetWeights(netuid=NETUID, weights={1: 1.0}), validator).success
    with pytest.raises(bt.ChainError) as before_signing:
        client.execute(bt.SetWeights(netuid=NETUID, weights={1: 1.0}), validator)
    assert before_signing.value.code is ErrorCode.RATE_LIMITED
    node.blocks(WEIGHTS_RATE_LIMIT_BLOCKS - 2)
    result = submit(weights_call([1], [1]), validator)
    assert_failed(result, "SettingWeightsTooFast", ErrorCode.RATE_LIMITED)
    assert submit(weights_call([1], [1]), validator).success


def test_an_outdated_version_key_is_refused(
    node: RunningNode, submit: SetWeights, validator: bt.Wallet, miner: bt.Wallet
) -> None:
    node.set("weights_version", 7)
    result = submit(weights_call([1], [1], version_key=6), validator)
    assert_failed(result, "IncorrectWeightVersionKey", ErrorCode.INVALID_ARGUMENT)
    assert submit(weights_call([1], [1], version_key=7), validator).success


def test_too_few_and_too_heavy_weights_are_refused(
    node: RunningNode, submit: SetWeights, validator: bt.Wallet, miner: bt.Wallet
) -> None:
    node.set("min_allowed_weights", 2)
    result = submit(weights_call([1], [1]), validator)
    assert_failed(result, "WeightVecLengthIsLow", ErrorCode.INVALID_ARGUMENT)
    node.set("max_weights_limit", 40_000)
    result = submit(weights_call([0, 1], [1, 9]), validator)
    assert_failed(result, "MaxWeightExceeded", ErrorCode.LIMIT_EXCEEDED)
    assert submit(weights_call([0, 1], [5, 5]), validator).success


def test_plain_weights_are_refused_while_commit_reveal_is_on(
    node: RunningNode, submit: SetWeights, validator: bt.Wallet, miner: bt.Wallet
) -> None:
    node.set("commit_reveal_weights_enabled", True)
    plain = bt.calls.SubtensorModule.set_weights(netuid=NETUID, dests=[1], weights=[1], version_key=0)
    for call in (weights_call([1], [1]), plain):
        assert_failed(submit(call, validator), "CommitRevealEnabled", ErrorCode.DISABLED)


def test_commits_are_checked_like_weights(
    node: RunningNode, submit: SetWeights, validator: bt.Wallet, stranger: bt.Wallet
) -> None:
    node.set("commit_reveal_weights_enabled", True)
    result = submit(commit_call(), stranger)
    assert_failed(result, "HotKeyNotRegisteredInSubNet", ErrorCode.NOT_REGISTERED)
    result = submit(commit_call(commit_reveal_version=3), validator)
    assert_failed(result, "IncorrectCommitRevealVersion", ErrorCode.INVALID_ARGUMENT)
    assert submit(commit_call(), validator).success
    result = submit(commit_call(), validator)
    assert_failed(result, "CommittingWeightsTooFast", ErrorCode.RATE_LIMITED)


def test_a_hotkey_has_ten_commits_an_epoch(
    node: RunningNode, submit: SetWeights, client: bt.Subtensor, validator: bt.Wallet
) -> None:
    node.set("commit_reveal_weights_enabled", True)
    node.set("weights_rate_limit", 0)
    node.set("tempo", 500)
    plain = bt.calls.SubtensorModule.commit_timelocked_weights(
        netuid=NETUID, commit=b"0x6869", reveal_round=5, commit_reveal_version=4
    )
    for call in [plain] * 5 + [commit_call()] * 5:
        assert submit(call, validator).success
    result = submit(commit_call(), validator)
    assert_failed(result, "TooManyUnrevealedCommits", ErrorCode.LIMIT_EXCEEDED)
    (commits,) = client.weights.timelocked_weight_commits(NETUID).values()
    assert [c["ciphertext"] for c in commits] == ["0x6869"] * 5 + ["0x" + bytes(range(200)).hex()] * 5


@pytest.mark.parametrize(
    ("changed", "name"),
    [
        ({"ip_type": 5}, "InvalidIpType"),
        ({"ip": 2**32 - 1}, "InvalidIpAddress"),
        ({"port": 0}, "InvalidPort"),
    ],
)
def test_an_impossible_axon_is_refused(
    submit: SetWeights, miner: bt.Wallet, changed: dict[str, int], name: str
) -> None:
    assert_failed(submit(axon_call(**changed), miner), name, ErrorCode.INVALID_ARGUMENT)


def test_only_registered_hotkeys_serve_and_not_too_often(
    node: RunningNode, submit: SetWeights, miner: bt.Wallet, stranger: bt.Wallet
) -> None:
    result = submit(axon_call(), stranger)
    assert_failed(result, "HotKeyNotRegisteredInNetwork", ErrorCode.NOT_REGISTERED)
    result = submit(axon_call(netuid=4), miner)
    assert_failed(result, "SubnetNotExists", ErrorCode.SUBNET_NOT_EXISTS)
    assert submit(axon_call(), miner).success
    assert_failed(submit(axon_call(), miner), "ServingRateLimitExceeded", ErrorCode.RATE_LIMITED)
    node.set("serving_rate_limit", 0)
    assert submit(axon_call(), miner).success


def test_prometheus_needs_an_address(client: bt.Subtensor, submit: SetWeights, miner: bt.Wallet) -> None:
    assert client.execute(bt.ServePrometheus(netuid=NETUID, ip="203.0.113.7", port=9_100), miner).success
    call = bt.calls.SubtensorModule.serve_prometheus(netuid=NETUID, version=1, ip=0, port=1, ip_type=4)
    assert_failed(submit(call, miner), "InvalidIpAddress", ErrorCode.INVALID_ARGUMENT)


def test_registration_is_refused_without_the_money(
    node: RunningNode, client: bt.Subtensor, stranger: bt.Wallet
) -> None:
    node.fund(stranger.coldkeypub.ss58_address, TAO - 1)
    result = client.execute(bt.BurnedRegister(netuid=NETUID), stranger)
    assert_failed(result, "NotEnoughBalanceToStake", ErrorCode.INSUFFICIENT_BALANCE)
    assert client.balances.get(stranger.coldkeypub.ss58_address).rao == TAO - 1
    assert client.subnets.metagraph(NETUID).hotkeys == []


def test_a_hotkey_registers_once_and_for_one_coldkey(
    node: RunningNode, client: bt.Subtensor, miner: bt.Wallet, stranger: bt.Wallet
) -> None:
    result = client.execute(bt.BurnedRegister(netuid=NETUID), miner)
    assert_failed(result, "HotKeyAlreadyRegisteredInSubNet", ErrorCode.ALREADY_EXISTS)
    node.fund(stranger.coldkeypub.ss58_address, 5 * TAO)
    assert client.execute(bt.BurnedRegister(netuid=NETUID), stranger).success


@pytest.mark.parametrize(
    ("hyperparameter", "value", "name", "code"),
    [
        ("registration_allowed", False, "SubNetRegistrationDisabled", ErrorCode.DISABLED),
        ("max_regs_per_block", 0, "TooManyRegistrationsThisBlock", ErrorCode.RATE_LIMITED),
        ("max_allowed_uids", 1, "NoNeuronIdAvailable", ErrorCode.LIMIT_EXCEEDED),
    ],
)
def test_a_closed_or_full_subnet_takes_nobody(
    node: RunningNode,
    client: bt.Subtensor,
    validator: bt.Wallet,
    stranger: bt.Wallet,
    hyperparameter: str,
    value: int,
    name: str,
    code: ErrorCode,
) -> None:
    node.fund(stranger.coldkeypub.ss58_address, 5 * TAO)
    node.set(hyperparameter, value)
    assert_failed(client.execute(bt.BurnedRegister(netuid=NETUID), stranger), name, code)
    assert client.balances.get(stranger.coldkeypub.ss58_address).rao == 5 * TAO


def test_registration_on_no_subnet_is_refused(
    submit: SetWeights, node: RunningNode, validator: bt.Wallet
) -> None:
    hotkey = validator.hotkey.ss58_address
    call = bt.calls.SubtensorModule.burned_register(netuid=3, hotkey=hotkey)
    assert_failed(submit(call, validator, "coldkey"), "SubnetNotExists", ErrorCode.SUBNET_NOT_EXISTS)


def test_somebody_else_s_hotkey_cannot_be_registered(
    submit: SetWeights, node: RunningNode, client: bt.Subtensor, validator: bt.Wallet, miner: bt.Wallet
) -> None:
    evicted, item = miner.hotkey.ss58_address, "SubtensorModule.Uids"
    node.inside(lambda: node.node.producer.produce(lambda ledger: ledger.remove(item, NETUID, evicted)))
    call = bt.calls.SubtensorModule.burned_register(netuid=NETUID, hotkey=evicted)
    result = submit(call, validator, "coldkey")
    assert_failed(result, "NonAssociatedColdKey", ErrorCode.NOT_AUTHORIZED)
    assert client.balances.get(validator.coldkeypub.ss58_address).rao == 1_000 * TAO


def test_a_transfer_needs_the_money_and_leaves_the_deposit(
    client: bt.Subtensor, miner: bt.Wallet, stranger: bt.Wallet
) -> None:
    destination = stranger.coldkeypub.ss58_address
    result = client.execute(bt.Transfer(dest_ss58=destination, amount_tao=1_001), miner)
    assert_failed(result, "FundsUnavailable", ErrorCode.INSUFFICIENT_BALANCE)
    result = client.execute(bt.Transfer(dest_ss58=destination, amount_tao=1_000), miner)
    assert_failed(result, "NotExpendable", ErrorCode.INSUFFICIENT_BALANCE)
    dust = bt.calls.Balances.transfer_keep_alive(dest=destination, value=1)
    assert_failed(client.submit_call(dust, miner), "BelowMinimum", ErrorCode.INSUFFICIENT_BALANCE)
    assert client.balances.get(miner.coldkeypub.ss58_address).rao == 1_000 * TAO


def test_only_registered_hotkeys_publish_commitments_and_only_small_ones(
    submit: SetWeights, miner: bt.Wallet, stranger: bt.Wallet
) -> None:
    def call(fields: int) -> Any:
        info = {"fields": [{"Raw1": [7]}] * fields}
        return bt.calls.Commitments.set_commitment(netuid=NETUID, info=info)

    assert_failed(submit(call(1), stranger), "AccountNotAllowedCommit", ErrorCode.NOT_AUTHORIZED)
    result = submit(call(4), miner)
    assert_failed(result, "TooManyFieldsInCommitmentInfo", ErrorCode.LIMIT_EXCEEDED)
    assert submit(call(3), miner).success


def test_a_hotkeys_commitments_have_a_quota_of_bytes_that_each_epoch_renews(
    submit: SetWeights, node: RunningNode, miner: bt.Wallet
) -> None:
    node.set("tempo", 1_000)
    call = bt.calls.Commitments.set_commitment(netuid=NETUID, info={"fields": [{"Raw1": [7]}]})
    for _ in range(COMMITMENT_SPACE_BYTES // LEAST_COMMITMENT_BYTES):
        assert submit(call, miner).success
    assert_failed(submit(call, miner), "SpaceLimitExceeded", ErrorCode.LIMIT_EXCEEDED)
    node.blocks(1_000)
    assert submit(call, miner).success


def test_a_used_nonce_is_stale(client: bt.Subtensor, node: RunningNode, validator: bt.Wallet) -> None:
    """The SDK caches nonces per client: a second client makes the first one's stale."""
    remark = bt.calls.System.remark(remark=b"hello")
    assert client.submit_call(remark, validator).success
    other = bt.Subtensor(node.url, fallback_endpoints=[], archive_endpoints=[])
    assert other.submit_call(remark, validator).success
    other.close()
    result = client.submit_call(remark, validator)
    assert not result.success
    assert (result.error.name, result.error.code) == ("Stale", ErrorCode.EXPIRED)
    assert client.submit_call(remark, validator).success
