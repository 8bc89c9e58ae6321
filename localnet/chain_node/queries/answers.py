"""Decodes a runtime API call, answers it from the state, and encodes the answer."""

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

from localnet.chain_node.epoch_clock import next_epoch_block
from localnet.chain_node.ledger import LedgerReader
from localnet.chain_node.metadata import METADATA_VERSION
from localnet.chain_node.queries.hyperparameters import subnet_hyperparameters
from localnet.chain_node.queries.metagraph import metagraph
from localnet.chain_node.queries.neurons import neurons, neurons_lite
from localnet.chain_node.queries.stake import (
    stake_availability,
    stake_of_coldkey,
    stake_of_coldkeys,
    stake_of_pair,
)
from localnet.chain_node.runtime import Runtime
from localnet.chain_node.scale_encoding import Reader, ScaleError, option, sized

ALPHA_PRICE_RAO = 10**9
"""There is no market here: one alpha counts as one TAO."""

_Answer = Callable[..., Any]

_NO_FEE = {"weight": {"ref_time": 0, "proof_size": 0}, "class": "Normal", "partial_fee": 0}

_ANSWERS: Mapping[str, _Answer] = MappingProxyType(
    {
        "SubnetInfoRuntimeApi_get_metagraph": metagraph,
        "SubnetInfoRuntimeApi_get_subnet_hyperparams_v3": subnet_hyperparameters,
        "SubnetInfoRuntimeApi_get_next_epoch_start_block": next_epoch_block,
        "NeuronInfoRuntimeApi_get_neurons": neurons,
        "NeuronInfoRuntimeApi_get_neurons_lite": neurons_lite,
        "StakeInfoRuntimeApi_get_stake_info_for_coldkey": stake_of_coldkey,
        "StakeInfoRuntimeApi_get_stake_info_for_coldkeys": stake_of_coldkeys,
        "StakeInfoRuntimeApi_get_stake_info_for_hotkey_coldkey_netuid": stake_of_pair,
        "StakeInfoRuntimeApi_get_stake_availability_for_coldkeys": stake_availability,
        "DelegateInfoRuntimeApi_get_delegated": lambda ledger, coldkey: [],
        "SwapRuntimeApi_current_alpha_price": lambda ledger, netuid: ALPHA_PRICE_RAO,
        "SwapRuntimeApi_current_alpha_price_all": lambda ledger: [
            {"netuid": netuid, "price": ALPHA_PRICE_RAO}
            for netuid, added in ledger.pairs("SubtensorModule.NetworksAdded")
            if added
        ],
        "BetaBasketRuntimeApi_get_root_basket_owed": lambda ledger, coldkey: 0,
        "BetaBasketRuntimeApi_get_root_basket_positions": lambda ledger, coldkey: [],
    }
)


class UnknownMethodError(LookupError):
    """The runtime exports no such method."""


def metadata_answer(runtime: Runtime, name: str, data: bytes) -> bytes | None:
    """The answer to a metadata or fee call, which needs no state; None for any other call.

    Raises:
        ScaleError: the parameters cannot be decoded.
    """
    if name == "Metadata_metadata_versions":
        return _encode(runtime, name, [METADATA_VERSION])
    if name == "Metadata_metadata_at_version":
        known = Reader(data).integer(4) == METADATA_VERSION
        return option(sized(runtime.metadata) if known else None)
    if name == "TransactionPaymentApi_query_info":
        return _encode(runtime, name, _NO_FEE)
    return None


def state_answer(ledger: LedgerReader, name: str, data: bytes) -> bytes:
    """The encoded answer to a runtime API call (`Api_method`) with encoded parameters.

    Raises:
        UnknownMethodError: the runtime exports no such method.
        ScaleError: the parameters cannot be decoded.
    """
    answer = _ANSWERS.get(name)
    if answer is None:
        raise UnknownMethodError(name)
    value = answer(ledger, *_parameters(ledger.runtime, name, data))
    return _encode(ledger.runtime, name, value)


def _definition(runtime: Runtime, name: str) -> dict[str, Any]:
    api, method = name.split("_", 1)
    definition: dict[str, Any] = runtime.codec.runtime_api_map[api][method]
    return definition


def _parameters(runtime: Runtime, name: str, data: bytes) -> tuple[Any, ...]:
    """The inputs are decoded as one tuple, whose type the registry does not hold, so from the front."""
    values = []
    for _, kind in _definition(runtime, name)["inputs"]:
        try:
            value = runtime.codec.decode(kind, data, strict=False)
        except ValueError as error:
            raise ScaleError(f"cannot decode the parameters of {name}: {error}") from error
        data = data[len(runtime.codec.encode(kind, value)) :]
        values.append(value)
    if data:
        raise ScaleError(f"{len(data)} bytes too many in the parameters of {name}")
    return tuple(values)


def _encode(runtime: Runtime, name: str, value: Any) -> bytes:
    encoded: bytes = runtime.codec.encode(_definition(runtime, name)["output"], value)
    return encoded
