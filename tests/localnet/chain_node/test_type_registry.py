import pytest
from hypothesis import given
from hypothesis import strategies as st

from localnet.chain_node.metadata import all_pallets
from localnet.chain_node.runtime import Runtime
from localnet.chain_node.runtime_api_tables import API_TYPES
from localnet.chain_node.runtime_types import RUNTIME_TYPES
from localnet.chain_node.type_registry import TypeRegistry, split_arguments
from localnet.chain_node.zero_values import zero_value

RUNTIME = Runtime(slot_duration_ms=1_000)
ITEMS = [f"{pallet.name}.{item.name}" for pallet in all_pallets(1_000) for item in pallet.storage]
U8, U16, U32, U64, U128 = (st.integers(0, 2**bits - 1) for bits in (8, 16, 32, 64, 128))

AXONS = st.fixed_dictionaries(
    {"block": U64, "version": U32, "ip": U128, "port": U16, "ip_type": U8, "protocol": U8}
    | {"placeholder1": U8, "placeholder2": U8}
)
ACCOUNTS = st.fixed_dictionaries(
    {"nonce": U32, "consumers": U32, "providers": U32, "sufficients": U32}
    | {"data": st.fixed_dictionaries({"free": U64, "reserved": U64, "frozen": U64, "flags": U128})}
)


@pytest.mark.parametrize("item", ITEMS)
def test_the_default_of_every_storage_item_decodes(item: str) -> None:
    entry = RUNTIME.entry(item)
    value = RUNTIME.codec.decode(entry.decode_type(False), entry.default_bytes)
    assert value is None if entry.modifier == "Optional" else value is not None


@given(AXONS, ACCOUNTS, st.lists(st.tuples(U16, U16)), st.lists(st.booleans()))
def test_structs_and_vectors_survive_encoding(
    axon: dict[str, int], account: dict[str, object], row: list[tuple[int, int]], flags: list[bool]
) -> None:
    values = {
        "SubtensorModule.Axons": axon,
        "System.Account": account,
        "SubtensorModule.Weights": row,
        "SubtensorModule.ValidatorPermit": flags,
    }
    for item, value in values.items():
        kind = RUNTIME.entry(item).value_type
        assert RUNTIME.codec.decode(kind, RUNTIME.codec.encode(kind, value)) == value


@given(st.binary(min_size=1, max_size=128))
def test_a_commitment_of_any_bytes_survives_encoding(data: bytes) -> None:
    kind = RUNTIME.entry("Commitments.CommitmentOf").value_type
    info = {"fields": [{f"Raw{len(data)}": list(data)}]}
    encoded = RUNTIME.codec.encode(kind, {"deposit": 0, "block": 7, "info": info})
    (decoded,) = RUNTIME.codec.decode(kind, encoded)["info"]["fields"]
    assert bytes.fromhex(decoded[f"Raw{len(data)}"].removeprefix("0x")) == data


@pytest.mark.parametrize(
    ("expression", "parts"),
    [
        ("u16", ["u16"]),
        ("u16,Vec<(u8,u8)>", ["u16", "Vec<(u8,u8)>"]),
        ("AccountId32,BTreeMap<NetUid,u64>,[u8;4]", ["AccountId32", "BTreeMap<NetUid,u64>", "[u8;4]"]),
        ("", []),
    ],
)
def test_commas_inside_brackets_do_not_separate_arguments(expression: str, parts: list[str]) -> None:
    assert split_arguments(expression) == parts


@pytest.mark.parametrize(
    ("expression", "zero"),
    [
        ("u16", bytes(2)),
        ("(u64,FixedI128)", bytes(24)),
        ("[u16;3]", bytes(6)),
        ("Vec<AccountId32>", b"\0"),
        ("AccountInfo", bytes(16 + 24 + 16)),
        ("EpochConsensus", b"\0"),
    ],
)
def test_zero_values_are_as_long_as_their_type(expression: str, zero: bytes) -> None:
    assert zero_value(expression, RUNTIME_TYPES | API_TYPES) == zero


@pytest.mark.parametrize("expression", ["Nothing", "Vec<Nothing>", "Map<u8>", "(u8,Nothing)"])
def test_an_undeclared_type_is_named_when_the_tables_are_built(expression: str) -> None:
    with pytest.raises(KeyError, match=r"Nothing|Map"):
        TypeRegistry(RUNTIME_TYPES).id_of(expression)


def test_one_type_gets_one_number_however_it_is_spaced() -> None:
    registry = TypeRegistry(RUNTIME_TYPES)
    assert registry.id_of("Vec<(u16, u16)>") == registry.id_of("Vec<(u16,u16)>")
    assert registry.id_of("Vec<(u16,u16)>") != registry.id_of("Vec<(u16,u8)>")
