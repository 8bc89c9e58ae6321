"""The node's tables against the catalogue that the SDK's makers generated from the real runtime."""

import inspect

import bittensor as bt
import pytest
from bittensor import hyperparams as sdk_hyperparams
from bittensor._generated.errors import ERRORS
from bittensor.error_map import NAME_TO_CODE
from bittensor.intents.hyperparameters import OWNER_HYPERPARAMETERS

from localnet.chain_node.calls import CALLS
from localnet.chain_node.hyperparameters import HYPERPARAMETERS
from localnet.chain_node.metadata import all_pallets
from localnet.chain_node.runtime import Runtime
from localnet.chain_node.runtime_api_tables import RUNTIME_APIS

RUNTIME = Runtime(slot_duration_ms=1_000)
PALLETS = {pallet.name: pallet for pallet in RUNTIME.codec.metadata_ir().pallets}
OUR_CALLS = {f"{p.name}.{call.name}": call for p in PALLETS.values() for call in p.calls}
OUR_STORAGE = {f"{p.name}.{item.name}": item for p in PALLETS.values() for item in p.storage}
INHERENT_ONLY = {"Timestamp.set"}


def arguments_agree(sdk: list[tuple[str, str]], ours: list[tuple[str, str]]) -> bool:
    """The SDK writes `Any` where its generator had no name for a type."""
    same_names = [name for name, _ in sdk] == [name for name, _ in ours]
    return same_names and all(
        theirs in ("Any", mine) for (_, theirs), (_, mine) in zip(sdk, ours, strict=True)
    )


def sdk_arguments(call: str) -> list[tuple[str, str]]:
    pallet, name = call.split(".")
    signature = inspect.signature(getattr(getattr(bt.calls, pallet), name))
    return [(name, str(parameter.annotation).strip("'")) for name, parameter in signature.parameters.items()]


@pytest.mark.parametrize("call", OUR_CALLS)
def test_every_call_takes_the_arguments_that_the_sdk_sends(call: str) -> None:
    ours = [(argument.name, argument.type_ident) for argument in OUR_CALLS[call].args]
    assert arguments_agree(sdk_arguments(call), ours)


def test_an_argument_of_another_name_order_or_type_would_be_noticed() -> None:
    ours = [("netuid", "NetUid"), ("hotkey", "AccountId32")]
    assert arguments_agree(ours, ours)
    assert arguments_agree([("netuid", "Any"), ("hotkey", "AccountId32")], ours)
    assert not arguments_agree([("netuid", "NetUid"), ("coldkey", "AccountId32")], ours)
    assert not arguments_agree(ours[::-1], ours)
    assert not arguments_agree([("netuid", "u16"), ("hotkey", "AccountId32")], ours)
    assert not arguments_agree(ours[:1], ours)


@pytest.mark.parametrize("item", OUR_STORAGE)
def test_every_storage_item_holds_the_type_that_the_sdk_decodes(item: str) -> None:
    pallet, name = item.split(".")
    sdk_item = getattr(getattr(bt.storage, pallet), name)
    assert sdk_item.value_type_ident == OUR_STORAGE[item].value_type_ident


@pytest.mark.parametrize("api", RUNTIME_APIS)
def test_every_runtime_api_method_exists_in_the_sdk(api: str) -> None:
    for method in RUNTIME_APIS[api]:
        assert tuple(getattr(getattr(bt.runtime_api, api), method.name)) == (api, method.name)


def test_every_constant_exists_in_the_sdk() -> None:
    for pallet in all_pallets(1_000):
        for constant in pallet.constants:
            assert hasattr(getattr(bt.constants, pallet.name), constant.name)


def test_every_error_has_the_index_by_which_the_sdk_knows_it() -> None:
    for pallet in all_pallets(1_000):
        for error in pallet.errors:
            known = ERRORS[pallet.index, error.index]
            assert (known.pallet, known.name) == (pallet.name, error.name)
            assert error.name in NAME_TO_CODE


def test_every_call_in_the_metadata_is_executed_except_the_author_s_own() -> None:
    assert set(OUR_CALLS) == set(CALLS) | INHERENT_ONLY


def test_hyperparameters_are_stored_where_the_sdk_looks_for_them() -> None:
    for name, item in sdk_hyperparams.STORAGE_ITEMS.items():
        assert HYPERPARAMETERS[name].storage == item.name


def test_every_hyperparameter_that_an_owner_can_set_is_there_to_be_listed() -> None:
    computed = {"epoch_consensus", "alpha_high", "alpha_low"}
    assert set(OWNER_HYPERPARAMETERS) - computed <= set(HYPERPARAMETERS)


def test_another_block_time_gives_other_metadata() -> None:
    assert Runtime(1_000).metadata != Runtime(12_000).metadata
    assert Runtime(1_000).metadata == Runtime(1_000).metadata
    assert Runtime(12_000).codec.constant("Aura", "SlotDuration") == 12_000
