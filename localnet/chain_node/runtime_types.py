"""The structs and enums of the Subtensor runtime that the SDK decodes, one table each.

Names, field names and field types are those of the runtime behind bittensor 11.3; the tests compare every
name that the SDK's generated catalogue knows with it.
"""

from localnet.chain_node.type_registry import Enum, Fields, Struct, Variant

_LAST_RAW_LENGTH = 128
_MORTAL_ERAS = 255


def _struct(path: str, *fields: tuple[str, str]) -> Struct:
    return Struct(path, fields)


def _plain_enum(path: str, *names: str) -> Enum:
    return Enum(path, tuple(Variant(index, name) for index, name in enumerate(names)))


def _commitment_data() -> Enum:
    raw = tuple(Variant(n + 1, f"Raw{n}", (("", f"[u8;{n}]"),)) for n in range(_LAST_RAW_LENGTH + 1))
    hashes = ("BlakeTwo256", "Sha256", "Keccak256", "ShaThree256")
    hashed = tuple(Variant(130 + i, name, (("", "[u8;32]"),)) for i, name in enumerate(hashes))
    sealed: Fields = (("encrypted", "BoundedVec<u8>"), ("reveal_round", "u64"))
    return Enum(
        "pallet_commitments::types::Data",
        (
            Variant(0, "None"),
            *raw,
            *hashed,
            Variant(134, "TimelockEncrypted", sealed),
            Variant(135, "ResetBondsFlag"),
            Variant(136, "BigRaw", (("", "BoundedVec<u8>"),)),
        ),
    )


def _era() -> Enum:
    mortal = tuple(Variant(i, f"Mortal{i}", (("", "u8"),)) for i in range(1, _MORTAL_ERAS + 1))
    return Enum("sp_runtime::generic::era::Era", (Variant(0, "Immortal"), *mortal))


_STRUCTS = (
    # primitives with a name of their own
    _struct("sp_core::crypto::AccountId32", ("", "[u8;32]")),
    _struct("primitive_types::H256", ("", "[u8;32]")),
    _struct("subtensor_runtime_common::NetUid", ("", "u16")),
    _struct("subtensor_runtime_common::MechId", ("", "u8")),
    _struct("subtensor_runtime_common::TaoBalance", ("", "u64")),
    _struct("subtensor_runtime_common::AlphaBalance", ("", "u64")),
    _struct("sp_arithmetic::per_things::PerU16", ("", "u16")),
    _struct("substrate_fixed::FixedI128", ("bits", "i128")),
    _struct("substrate_fixed::FixedU128", ("bits", "u128")),
    _struct("substrate_fixed::FixedI64", ("bits", "i64")),
    # accounts, extrinsics, dispatch
    _struct(
        "pallet_balances::types::AccountData",
        *(("free", "TaoBalance"), ("reserved", "TaoBalance"), ("frozen", "TaoBalance"), ("flags", "u128")),
    ),
    _struct(
        "frame_system::AccountInfo",
        *(("nonce", "u32"), ("consumers", "u32"), ("providers", "u32"), ("sufficients", "u32")),
        ("data", "AccountData"),
    ),
    _struct("frame_system::extensions::check_nonce::CheckNonce", ("", "Compact<u32>")),
    _struct("pallet_transaction_payment::ChargeTransactionPayment", ("", "Compact<u64>")),
    _struct("sp_weights::weight_v2::Weight", ("ref_time", "Compact<u64>"), ("proof_size", "Compact<u64>")),
    _struct(
        "frame_system::DispatchEventInfo",
        *(("weight", "Weight"), ("class", "DispatchClass"), ("pays_fee", "Pays")),
    ),
    _struct("sp_runtime::ModuleError", ("index", "u8"), ("error", "[u8;4]")),
    _struct(
        "frame_system::EventRecord",
        *(("phase", "Phase"), ("event", "RuntimeEvent"), ("topics", "Vec<H256>")),
    ),
    _struct("node_subtensor_runtime::Runtime"),
    _struct(
        "pallet_transaction_payment::types::RuntimeDispatchInfo",
        *(("weight", "Weight"), ("class", "DispatchClass"), ("partial_fee", "TaoBalance")),
    ),
    # neurons and subnets
    _struct(
        "pallet_subtensor::pallet::AxonInfo",
        *(("block", "u64"), ("version", "u32"), ("ip", "u128"), ("port", "u16"), ("ip_type", "u8")),
        *(("protocol", "u8"), ("placeholder1", "u8"), ("placeholder2", "u8")),
    ),
    _struct(
        "pallet_subtensor::pallet::PrometheusInfo",
        *(("block", "u64"), ("version", "u32"), ("ip", "u128"), ("port", "u16"), ("ip_type", "u8")),
    ),
    _struct(
        "pallet_subtensor::pallet::SubnetIdentityV3",
        *((name, "Vec<u8>") for name in ("subnet_name", "github_repo", "subnet_contact", "subnet_url")),
        *((name, "Vec<u8>") for name in ("discord", "description", "logo_url", "additional")),
    ),
    _struct(
        "pallet_subtensor::pallet::ChainIdentityV2",
        *((name, "Vec<u8>") for name in ("name", "url", "github_repo", "image", "discord")),
        *((name, "Vec<u8>") for name in ("description", "additional")),
    ),
    _struct(
        "pallet_subtensor::staking::lock::LockState",
        *(("locked_mass", "AlphaBalance"), ("conviction", "FixedU128"), ("last_update", "u64")),
    ),
    _struct("pallet_commitments::types::CommitmentInfo", ("fields", "BoundedVec<Data>")),
    _struct(
        "pallet_commitments::types::Registration",
        *(("deposit", "TaoBalance"), ("block", "u32"), ("info", "CommitmentInfo")),
    ),
    _struct("pallet_commitments::types::UsageTracker", ("last_epoch", "u64"), ("used_space", "u64")),
)

_ENUMS = (
    _commitment_data(),
    _era(),
    _plain_enum("pallet_subtensor::pallet::EpochConsensus", "Yuma", "Null"),
    _plain_enum("frame_support::dispatch::DispatchClass", "Normal", "Operational", "Mandatory"),
    _plain_enum("frame_support::dispatch::Pays", "Yes", "No"),
    _plain_enum(
        "sp_runtime::TokenError",
        *("FundsUnavailable", "OnlyProvider", "BelowMinimum", "CannotCreate", "UnknownAsset", "Frozen"),
        *("Unsupported", "CannotCreateHold", "NotExpendable", "Blocked"),
    ),
    Enum(
        "sp_runtime::DispatchError",
        (
            Variant(0, "Other"),
            Variant(1, "CannotLookup"),
            Variant(2, "BadOrigin"),
            Variant(3, "Module", (("", "ModuleError"),)),
            Variant(7, "Token", (("", "TokenError"),)),
        ),
    ),
    Enum(
        "frame_system::Phase",
        (
            Variant(0, "ApplyExtrinsic", (("", "u32"),)),
            Variant(1, "Finalization"),
            Variant(2, "Initialization"),
        ),
    ),
    Enum(
        "sp_runtime::multiaddress::MultiAddress",
        (
            Variant(0, "Id", (("", "AccountId32"),)),
            Variant(1, "Index", (("", "Compact<u32>"),)),
            Variant(2, "Raw", (("", "Vec<u8>"),)),
            Variant(3, "Address32", (("", "[u8;32]"),)),
            Variant(4, "Address20", (("", "[u8;20]"),)),
        ),
    ),
    Enum(
        "sp_runtime::MultiSignature",
        (
            Variant(0, "Ed25519", (("", "[u8;64]"),)),
            Variant(1, "Sr25519", (("", "[u8;64]"),)),
            Variant(2, "Ecdsa", (("", "[u8;65]"),)),
        ),
    ),
)

RUNTIME_TYPES: dict[str, Struct | Enum] = {
    definition.path.rsplit("::", 1)[-1]: definition for definition in (*_STRUCTS, *_ENUMS)
}
