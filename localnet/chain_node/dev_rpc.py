"""The dev_* methods: making blocks, and setting the subnet up by hand. A real node has none of them.

Each change of state goes into a block of its own, made at once, so that it is in the history like any other.
"""

from collections.abc import Mapping
from typing import Any

from localnet.chain_node.accounts import MAX_BALANCE_RAO, deposit, free_balance_rao
from localnet.chain_node.chain import Chain
from localnet.chain_node.dispatch import TokenError
from localnet.chain_node.genesis import put_hyperparameter
from localnet.chain_node.hyperparameters import HYPERPARAMETERS
from localnet.chain_node.jsonrpc import Params, RpcError, invalid_params
from localnet.chain_node.ledger import Ledger
from localnet.chain_node.neurons import adopt_hotkey, free_uid, seat, set_entry, subnet_exists, uid_of
from localnet.chain_node.production import BlockProducer
from localnet.chain_node.rpc_methods import Method, account_address
from localnet.chain_node.subscriptions import Listener
from localnet.chain_node.wire_values import to_hex

MAX_BLOCKS_PER_REQUEST = 1_000

_CHANGE_REFUSED = 1_900
_U16_MAX = 65_535


class DevMethods:
    """Changes the chain by hand."""

    def __init__(self, chain: Chain, producer: BlockProducer) -> None:
        self._chain = chain
        self._producer = producer

    def table(self) -> Mapping[str, Method]:
        """Every method by name."""
        return {
            "dev_newBlock": self._new_blocks,
            "dev_fund": self._fund,
            "dev_registerNeuron": self._register_neuron,
            "dev_setHyperparameter": self._set_hyperparameter,
        }

    def _new_blocks(self, listener: Listener, params: Params) -> dict[str, Any]:
        """`[count = 1]` → number and hash of the newest block."""
        given = params.optional(0) is not None
        count = params.integer(0, 1, MAX_BLOCKS_PER_REQUEST) if given else 1
        for _ in range(count):
            self._producer.produce()
        return {"number": self._chain.head.number, "hash": to_hex(self._chain.head.hash)}

    def _fund(self, listener: Listener, params: Params) -> int:
        """`[address, rao]` → the account's free balance in rao."""
        account, amount_rao = account_address(params, 0), params.integer(1, 1, MAX_BALANCE_RAO)

        def change(ledger: Ledger) -> None:
            if free_balance_rao(ledger, account) + amount_rao > MAX_BALANCE_RAO:
                raise invalid_params("the account would hold more TAO than there is")
            try:
                deposit(ledger, account, amount_rao)
            except TokenError as error:
                raise invalid_params("less than the existential deposit") from error

        self._producer.produce(change)
        return free_balance_rao(self._chain.current, account)

    def _register_neuron(self, listener: Listener, params: Params) -> int:
        """`[netuid, hotkey, coldkey, stake in rao, validator permit]` → the uid.

        A hotkey that is registered keeps its uid, and gets the stake and permit given.
        """
        netuid = self._existing_subnet(params)
        hotkey, coldkey = account_address(params, 1), account_address(params, 2)
        stake_rao, permit = params.integer(3, 0, MAX_BALANCE_RAO), params.boolean(4)

        def change(ledger: Ledger) -> None:
            uid = _seated(ledger, netuid, hotkey, coldkey)
            ledger.put("SubtensorModule.TotalHotkeyAlpha", hotkey, netuid, stake_rao)
            set_entry(ledger, "ValidatorPermit", netuid, uid, permit)

        self._producer.produce(change)
        uid = uid_of(self._chain.current, netuid, hotkey)
        return uid if uid is not None else -1

    def _set_hyperparameter(self, listener: Listener, params: Params) -> bool:
        """`[netuid, name, value]` → true."""
        netuid, name, value = self._existing_subnet(params), params.text(1), params.optional(2)
        if name not in HYPERPARAMETERS:
            raise invalid_params(f"no hyperparameter {name[:60]!r}; there are {', '.join(HYPERPARAMETERS)}")
        value_type = HYPERPARAMETERS[name].value_type
        if type(value) is not (bool if value_type == "bool" else int):
            raise invalid_params(f"{name} takes a value of type {value_type}")

        def change(ledger: Ledger) -> None:
            try:
                put_hyperparameter(ledger, netuid, name, value)
            except (ValueError, TypeError, OverflowError) as error:
                raise invalid_params(f"{value!r} does not fit {name}: {error}") from error

        self._producer.produce(change)
        return True

    def _existing_subnet(self, params: Params) -> int:
        netuid = params.integer(0, 0, _U16_MAX)
        if not subnet_exists(self._chain.current, netuid):
            raise invalid_params(f"there is no subnet {netuid}")
        return netuid


def _seated(ledger: Ledger, netuid: int, hotkey: str, coldkey: str) -> int:
    if not adopt_hotkey(ledger, hotkey, coldkey):
        raise RpcError(_CHANGE_REFUSED, "the hotkey belongs to another coldkey")
    uid = uid_of(ledger, netuid, hotkey)
    if uid is not None:
        return uid
    block_number = ledger.get("System.Number") + 1
    uid = free_uid(ledger, netuid, block_number)
    if uid is None:
        raise RpcError(_CHANGE_REFUSED, "the subnet is full and every neuron in it is immune")
    seat(ledger, netuid, uid, hotkey, block_number)
    return uid
