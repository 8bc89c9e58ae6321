"""Assembles the tables into a runtime metadata blob, version 15, which tells the SDK what this node speaks.

Layout: `RuntimeMetadataPrefixed` of the `frame-metadata` crate.
"""

from collections.abc import Mapping, Sequence

from localnet.chain_node.pallet_tables import (
    BALANCES,
    COMMITMENTS,
    MEV_SHIELD,
    SYSTEM,
    TIMESTAMP,
    TRANSACTION_PAYMENT,
    Pallet,
    StorageItem,
    aura,
)
from localnet.chain_node.runtime_api_tables import API_TYPES, RUNTIME_APIS, Method
from localnet.chain_node.runtime_types import RUNTIME_TYPES
from localnet.chain_node.scale_encoding import compact, option, sized, text, vector
from localnet.chain_node.subtensor_pallet import SUBTENSOR_MODULE
from localnet.chain_node.type_registry import Enum, Struct, TypeRegistry, Variant, docs
from localnet.chain_node.zero_values import zero_value

METADATA_VERSION = 15
SPEC_NAME = "node-subtensor"
SPEC_VERSION = 470
TRANSACTION_VERSION = 1
EXTRINSIC_VERSION = 4

_MAGIC = b"meta"
_NO_DOCS = compact(0)
_HASHER_INDEX = {"Blake2_128Concat": 2, "Twox64Concat": 5, "Identity": 6}

_SIGNED_EXTENSIONS = (
    # (identifier, type in the extrinsic, type of what is signed but not sent)
    ("CheckNonZeroSender", "()", "()"),
    ("CheckSpecVersion", "()", "u32"),
    ("CheckTxVersion", "()", "u32"),
    ("CheckGenesis", "()", "H256"),
    ("CheckMortality", "Era", "H256"),
    ("CheckNonce", "CheckNonce", "()"),
    ("CheckWeight", "()", "()"),
    ("ChargeTransactionPayment", "ChargeTransactionPayment", "()"),
)


def all_pallets(slot_duration_ms: int) -> tuple[Pallet, ...]:
    """Every pallet of the runtime, in index order."""
    return (
        SYSTEM,
        TIMESTAMP,
        aura(slot_duration_ms),
        BALANCES,
        TRANSACTION_PAYMENT,
        SUBTENSOR_MODULE,
        COMMITMENTS,
        MEV_SHIELD,
    )


def build_metadata(slot_duration_ms: int) -> bytes:
    """The metadata blob of a node whose blocks come every `slot_duration_ms` milliseconds."""
    pallets = all_pallets(slot_duration_ms)
    types = RUNTIME_TYPES | API_TYPES
    registry = TypeRegistry(types)
    for outer, part in (("RuntimeCall", "calls"), ("RuntimeEvent", "events"), ("RuntimeError", "errors")):
        _declare_outer_enum(registry, outer, part, pallets)
    body = vector(_pallet(registry, types, pallet) for pallet in pallets)
    body += _extrinsic(registry) + registry.reference("Runtime")
    body += vector(_runtime_api(registry, name, methods) for name, methods in RUNTIME_APIS.items())
    body += b"".join(registry.reference(name) for name in ("RuntimeCall", "RuntimeEvent", "RuntimeError"))
    no_custom_values = compact(0)
    return _MAGIC + bytes([METADATA_VERSION]) + registry.encode() + body + no_custom_values


def _inner_enum(pallet: Pallet, part: str) -> Enum:
    variants: tuple[Variant, ...] = getattr(pallet, part)
    return Enum(f"{pallet.name}::pallet::{part.removesuffix('s').title()}", variants)


def _declare_outer_enum(registry: TypeRegistry, outer: str, part: str, pallets: Sequence[Pallet]) -> None:
    variants = []
    for pallet in pallets:
        if getattr(pallet, part):
            inner = _inner_name(pallet, part)
            registry.declare(inner, _inner_enum(pallet, part))
            variants.append(Variant(pallet.index, pallet.name, (("", inner),)))
    registry.declare(outer, Enum(f"node_subtensor_runtime::{outer}", tuple(variants)))


def _inner_name(pallet: Pallet, part: str) -> str:
    return f"{pallet.name}{part.removesuffix('s').title()}"


def _pallet(registry: TypeRegistry, types: Mapping[str, Struct | Enum], pallet: Pallet) -> bytes:
    def reference(part: str) -> bytes:
        return option(registry.reference(_inner_name(pallet, part)) if getattr(pallet, part) else None)

    items = vector(_storage_item(registry, types, item) for item in pallet.storage)
    constants = vector(
        text(constant.name) + registry.reference(constant.value_type) + sized(constant.encoded) + _NO_DOCS
        for constant in pallet.constants
    )
    return (
        text(pallet.name)
        + option(text(pallet.name) + items if pallet.storage else None)
        + reference("calls")
        + reference("events")
        + constants
        + reference("errors")
        + bytes([pallet.index])
        + _NO_DOCS
    )


def _storage_item(registry: TypeRegistry, types: Mapping[str, Struct | Enum], item: StorageItem) -> bytes:
    default = b"\0" if item.optional else zero_value(item.value_type, types)
    return (
        text(item.name)
        + bytes([0 if item.optional else 1])
        + _storage_type(registry, item)
        + sized(default)
        + _NO_DOCS
    )


def _storage_type(registry: TypeRegistry, item: StorageItem) -> bytes:
    value = registry.reference(item.value_type)
    if not item.keys:
        return b"\0" + value
    hashers, key_types = zip(*(key.split(" ", 1) for key in item.keys), strict=True)
    key = key_types[0] if len(key_types) == 1 else f"({','.join(key_types)})"
    hasher_list = vector(bytes([_HASHER_INDEX[hasher]]) for hasher in hashers)
    return b"\1" + hasher_list + registry.reference(key) + value


def _extrinsic(registry: TypeRegistry) -> bytes:
    extra = f"({','.join(sent for _, sent, _ in _SIGNED_EXTENSIONS if sent != '()')})"
    types = ("MultiAddress", "RuntimeCall", "MultiSignature", extra)
    extensions = vector(
        text(name) + registry.reference(sent) + registry.reference(signed)
        for name, sent, signed in _SIGNED_EXTENSIONS
    )
    return bytes([EXTRINSIC_VERSION]) + b"".join(map(registry.reference, types)) + extensions


def _runtime_api(registry: TypeRegistry, name: str, methods: tuple[Method, ...]) -> bytes:
    return text(name) + vector(_method(registry, method) for method in methods) + _NO_DOCS


def _method(registry: TypeRegistry, method: Method) -> bytes:
    inputs = vector(text(name) + registry.reference(kind) for name, kind in method.inputs)
    return text(method.name) + inputs + registry.reference(method.output) + docs("")
