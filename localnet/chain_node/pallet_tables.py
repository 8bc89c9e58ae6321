"""The shape of a pallet table, and the tables of every pallet but SubtensorModule.

Pallet and call indexes are those of the runtime behind bittensor 11.3 where the SDK's catalogue fixes them
(pallets with errors); call indexes travel only between the SDK and this node's own metadata.
"""

from dataclasses import dataclass

from localnet.chain_node.type_registry import Fields, Variant


@dataclass(frozen=True)
class StorageItem:
    """`keys` are `hasher type` pairs; an item without keys is a single value.

    An `optional` item reads as absent where nothing was written; any other reads as its type's zero.
    """

    name: str
    value_type: str
    keys: tuple[str, ...] = ()
    optional: bool = False


@dataclass(frozen=True)
class Constant:
    name: str
    value_type: str
    encoded: bytes


@dataclass(frozen=True)
class Pallet:
    name: str
    index: int
    storage: tuple[StorageItem, ...] = ()
    calls: tuple[Variant, ...] = ()
    events: tuple[Variant, ...] = ()
    errors: tuple[Variant, ...] = ()
    constants: tuple[Constant, ...] = ()


EXISTENTIAL_DEPOSIT_RAO = 500
MAX_COMMITMENT_FIELDS = 3
COMMITMENT_SPACE_BYTES = 3_100
"""What a hotkey may commit to in one epoch of a subnet (the pallet's `MaxSpace` at its start)."""
LEAST_COMMITMENT_BYTES = 100
"""What a commitment counts at least (`SpaceLimitExceeded` in the SDK's error descriptions)."""

_ACCOUNT = "Blake2_128Concat AccountId32"
_TRANSFER: Fields = (("dest", "MultiAddress"), ("value", "Compact<TaoBalance>"))

SYSTEM = Pallet(
    "System",
    0,
    storage=(
        StorageItem("Account", "AccountInfo", (_ACCOUNT,)),
        StorageItem("Number", "u32"),
        StorageItem("ParentHash", "H256"),
        StorageItem("Events", "Vec<EventRecord>"),
    ),
    calls=(
        Variant(0, "remark", (("remark", "Vec<u8>"),)),
        Variant(7, "remark_with_event", (("remark", "Vec<u8>"),)),
    ),
    events=(
        Variant(0, "ExtrinsicSuccess", (("dispatch_info", "DispatchEventInfo"),)),
        Variant(
            1,
            "ExtrinsicFailed",
            (("dispatch_error", "DispatchError"), ("dispatch_info", "DispatchEventInfo")),
        ),
        Variant(5, "Remarked", (("sender", "AccountId32"), ("hash", "H256"))),
    ),
    errors=(Variant(5, "CallFiltered", docs="The origin filter prevent the call to be dispatched."),),
    constants=(Constant("SS58Prefix", "u16", (42).to_bytes(2, "little")),),
)

TIMESTAMP = Pallet(
    "Timestamp",
    2,
    storage=(StorageItem("Now", "u64"),),
    calls=(Variant(0, "set", (("now", "Compact<u64>"),)),),
)


def aura(slot_duration_ms: int) -> Pallet:
    """Aura carries only the block time, from which the SDK computes every wait and reveal round."""
    return Pallet(
        "Aura", 3, constants=(Constant("SlotDuration", "u64", slot_duration_ms.to_bytes(8, "little")),)
    )


BALANCES = Pallet(
    "Balances",
    5,
    storage=(StorageItem("TotalIssuance", "TaoBalance"),),
    calls=(
        Variant(0, "transfer_allow_death", _TRANSFER),
        Variant(3, "transfer_keep_alive", _TRANSFER),
        Variant(4, "transfer_all", (("dest", "MultiAddress"), ("keep_alive", "bool"))),
    ),
    events=(
        Variant(2, "Transfer", (("from", "AccountId32"), ("to", "AccountId32"), ("amount", "TaoBalance"))),
        Variant(8, "Withdraw", (("who", "AccountId32"), ("amount", "TaoBalance"))),
    ),
    constants=(Constant("ExistentialDeposit", "TaoBalance", EXISTENTIAL_DEPOSIT_RAO.to_bytes(8, "little")),),
)

TRANSACTION_PAYMENT = Pallet(
    "TransactionPayment",
    6,
    events=(
        Variant(
            0,
            "TransactionFeePaid",
            (("who", "AccountId32"), ("actual_fee", "TaoBalance"), ("tip", "TaoBalance")),
        ),
    ),
)

COMMITMENTS = Pallet(
    "Commitments",
    18,
    storage=(
        StorageItem("CommitmentOf", "Registration", ("Identity NetUid", "Twox64Concat AccountId32"), True),
        StorageItem("LastCommitment", "u32", ("Identity NetUid", "Twox64Concat AccountId32"), True),
        StorageItem("UsedSpaceOf", "UsageTracker", ("Identity NetUid", "Twox64Concat AccountId32"), True),
        StorageItem("MaxSpace", "u32"),
        StorageItem(
            "RevealedCommitments", "Vec<(Vec<u8>,u64)>", ("Identity NetUid", "Twox64Concat AccountId32"), True
        ),
    ),
    calls=(Variant(0, "set_commitment", (("netuid", "NetUid"), ("info", "CommitmentInfo"))),),
    events=(Variant(0, "Commitment", (("netuid", "NetUid"), ("who", "AccountId32"))),),
    errors=(
        Variant(0, "TooManyFieldsInCommitmentInfo", docs="Account passed too many additional fields."),
        Variant(1, "AccountNotAllowedCommit", docs="Account is not allowed to make commitments."),
        Variant(2, "SpaceLimitExceeded", docs="Space limit exceeded for the current interval."),
    ),
    constants=(Constant("MaxFields", "u32", MAX_COMMITMENT_FIELDS.to_bytes(4, "little")),),
)

MEV_SHIELD = Pallet(
    "MevShield",
    30,
    storage=(StorageItem("NextKey", "BoundedVec<u8>", optional=True),),
    calls=(Variant(1, "submit_encrypted", (("ciphertext", "BoundedVec<u8>"),)),),
    events=(Variant(0, "EncryptedSubmitted", (("id", "H256"), ("who", "AccountId32"))),),
    errors=(Variant(1, "Unreachable", docs="Unreachable."),),
)
