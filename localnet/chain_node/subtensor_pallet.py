"""The SubtensorModule pallet: the calls, storage, events and errors of a subnet that this node serves."""

from localnet.chain_node.hyperparameters import HYPERPARAMETERS
from localnet.chain_node.pallet_tables import Constant, Pallet, StorageItem
from localnet.chain_node.type_registry import Fields, Variant

COMMIT_REVEAL_VERSION = 4
"""The commit format of bittensor 11.3 (`DEFAULT_COMMIT_REVEAL_VERSION` in its weights intents)."""

START_CALL_DELAY_BLOCKS = 0

_NETUID = "Identity NetUid"
_UID = "Identity u16"
_HOTKEY = "Blake2_128Concat AccountId32"

_ENDPOINT: Fields = (
    ("netuid", "NetUid"),
    ("version", "u32"),
    ("ip", "u128"),
    ("port", "u16"),
    ("ip_type", "u8"),
)
_AXON: Fields = (*_ENDPOINT, ("protocol", "u8"), ("placeholder1", "u8"), ("placeholder2", "u8"))
_WEIGHTS: Fields = (("dests", "Vec<u16>"), ("weights", "Vec<u16>"), ("version_key", "u64"))
_TIMELOCKED: Fields = (
    ("commit", "BoundedVec<u8>"),
    ("reveal_round", "u64"),
    ("commit_reveal_version", "u16"),
)
_MECHANISM: Fields = (("netuid", "NetUid"), ("mecid", "MechId"))

_CALLS = (
    Variant(0, "set_weights", (("netuid", "NetUid"), *_WEIGHTS)),
    Variant(4, "serve_axon", _AXON),
    Variant(5, "serve_prometheus", _ENDPOINT),
    Variant(7, "burned_register", (("netuid", "NetUid"), ("hotkey", "AccountId32"))),
    Variant(113, "commit_timelocked_weights", (("netuid", "NetUid"), *_TIMELOCKED)),
    Variant(118, "commit_timelocked_mechanism_weights", (*_MECHANISM, *_TIMELOCKED)),
    Variant(119, "set_mechanism_weights", (*_MECHANISM, *_WEIGHTS)),
)

_EVENTS = (
    Variant(5, "WeightsSet", (("", "u16"), ("", "u16"))),
    Variant(6, "NeuronRegistered", (("", "NetUid"), ("", "u16"), ("", "AccountId32"))),
    Variant(22, "AxonServed", (("", "NetUid"), ("", "AccountId32"))),
    Variant(23, "PrometheusServed", (("", "NetUid"), ("", "AccountId32"))),
    Variant(98, "TimelockedWeightsCommitted", (("", "AccountId32"), ("", "u16"), ("", "H256"), ("", "u64"))),
)

_ERRORS = (
    Variant(1, "InvalidIpType", docs="The axon's address is neither of type 4 (IPv4) nor 6 (IPv6)."),
    Variant(2, "InvalidIpAddress", docs="An invalid IP address is passed to the serve function."),
    Variant(3, "InvalidPort", docs="An invalid port is passed to the serve function."),
    Variant(4, "HotKeyNotRegisteredInSubNet", docs="The hotkey is not registered in subnet."),
    Variant(6, "HotKeyNotRegisteredInNetwork", docs="The hotkey is not registered in any subnet."),
    Variant(7, "NonAssociatedColdKey", docs="The hotkey belongs to another coldkey."),
    Variant(12, "NotEnoughBalanceToStake", docs="The coldkey's balance is lower than the registration cost."),
    Variant(15, "NeuronNoValidatorPermit", docs="Setting non-self weights takes a validator permit."),
    Variant(16, "WeightVecNotEqualSize", docs="The uids and the weights differ in number."),
    Variant(17, "DuplicateUids", docs="The weights name a uid twice."),
    Variant(18, "UidVecContainInvalidOne", docs="The weights name a uid that does not exist."),
    Variant(19, "WeightVecLengthIsLow", docs="Fewer weights than the subnet's minimum."),
    Variant(20, "TooManyRegistrationsThisBlock", docs="Registrations in this block exceed the limit."),
    Variant(21, "HotKeyAlreadyRegisteredInSubNet", docs="The hotkey is registered in this subnet already."),
    Variant(27, "MaxWeightExceeded", docs="A weight exceeds the subnet's maximum."),
    Variant(29, "SettingWeightsTooFast", docs="A transactor exceeded the rate limit for setting weights."),
    Variant(30, "IncorrectWeightVersionKey", docs="The weights carry an outdated version key."),
    Variant(31, "ServingRateLimitExceeded", docs="The neuron exceeded the rate limit for serving."),
    Variant(32, "UidsLengthExceedUidsInSubNet", docs="More weights than the subnet has uids."),
    Variant(37, "SubNetRegistrationDisabled", docs="Registration is disabled."),
    Variant(48, "NoNeuronIdAvailable", docs="The subnet is full and every neuron in it is immune."),
    Variant(53, "CommitRevealEnabled", docs="Plain weights are refused while commit-reveal is enabled."),
    Variant(54, "CommitRevealDisabled", docs="Commits are refused while commit-reveal is disabled."),
    Variant(74, "MechanismDoesNotExist", docs="Subnet mechanism does not exist."),
    Variant(76, "SubnetNotExists", docs="The subnet does not exist."),
    Variant(77, "TooManyUnrevealedCommits", docs="Maximum commit limit reached."),
    Variant(81, "CommittingWeightsTooFast", docs="A transactor exceeded the rate limit for commits."),
    Variant(111, "IncorrectCommitRevealVersion", docs="Incorrect commit-reveal version."),
)

_STORAGE = (
    # the subnet
    StorageItem("NetworksAdded", "bool", (_NETUID,)),
    StorageItem("NetworkRegisteredAt", "u64", (_NETUID,)),
    StorageItem("SubnetworkN", "u16", (_NETUID,)),
    StorageItem("TokenSymbol", "Vec<u8>", (_NETUID,)),
    StorageItem("SubnetOwner", "AccountId32", (_NETUID,)),
    StorageItem("SubnetOwnerHotkey", "AccountId32", (_NETUID,)),
    StorageItem("SubnetIdentitiesV3", "SubnetIdentityV3", ("Blake2_128Concat NetUid",), optional=True),
    StorageItem("SubnetEpochConsensus", "EpochConsensus", (_NETUID,)),
    StorageItem("MechanismCountCurrent", "MechId", ("Twox64Concat NetUid",)),
    *(StorageItem(entry.storage, entry.value_type, (_NETUID,)) for entry in HYPERPARAMETERS.values()),
    # the epoch clock
    StorageItem("LastEpochBlock", "u64", (_NETUID,)),
    StorageItem("PendingEpochAt", "u64", (_NETUID,)),
    StorageItem("SubnetEpochIndex", "u64", (_NETUID,)),
    StorageItem("BlocksSinceLastStep", "u64", (_NETUID,)),
    StorageItem("LastMechansimStepBlock", "u64", (_NETUID,)),
    # neurons
    StorageItem("Uids", "u16", (_NETUID, _HOTKEY), optional=True),
    StorageItem("Keys", "AccountId32", (_NETUID, _UID)),
    StorageItem("IsNetworkMember", "bool", (_HOTKEY, _NETUID)),
    StorageItem("Owner", "AccountId32", (_HOTKEY,), optional=True),
    StorageItem("OwnedHotkeys", "Vec<AccountId32>", (_HOTKEY,)),
    StorageItem("StakingHotkeys", "Vec<AccountId32>", (_HOTKEY,)),
    StorageItem("TotalHotkeyAlpha", "AlphaBalance", (_HOTKEY, _NETUID)),
    StorageItem("BlockAtRegistration", "u64", (_NETUID, _UID)),
    StorageItem("RegistrationsThisBlock", "u16", (_NETUID,)),
    StorageItem("ValidatorPermit", "Vec<bool>", (_NETUID,)),
    StorageItem("LastUpdate", "Vec<u64>", (_NETUID,)),
    StorageItem("Active", "Vec<bool>", (_NETUID,)),
    StorageItem("Axons", "AxonInfo", (_NETUID, _HOTKEY), optional=True),
    StorageItem("Prometheus", "PrometheusInfo", (_NETUID, _HOTKEY), optional=True),
    StorageItem("IdentitiesV2", "ChainIdentityV2", (_HOTKEY,), optional=True),
    # weights
    StorageItem("Weights", "Vec<(u16,u16)>", (_NETUID, _UID)),
    StorageItem("Bonds", "Vec<(u16,u16)>", (_NETUID, _UID)),
    StorageItem("CommitRevealWeightsVersion", "u16"),
    StorageItem(
        "TimelockedWeightCommits",
        "Vec<(AccountId32,u64,BoundedVec<u8>,u64)>",
        ("Twox64Concat NetUid", "Twox64Concat u64"),
    ),
    # read by btcli, always empty here: no market, no emissions, no locked stake
    StorageItem("SubnetTaoInEmission", "TaoBalance", (_NETUID,)),
    StorageItem("SubnetEmaTaoFlow", "(u64,FixedI128)", (_NETUID,), optional=True),
    StorageItem("Lock", "LockState", (_HOTKEY, _NETUID, _HOTKEY), optional=True),
)

SUBTENSOR_MODULE = Pallet(
    "SubtensorModule",
    7,
    storage=_STORAGE,
    calls=_CALLS,
    events=_EVENTS,
    errors=_ERRORS,
    constants=(Constant("InitialStartCallDelay", "u64", START_CALL_DELAY_BLOCKS.to_bytes(8, "little")),),
)
