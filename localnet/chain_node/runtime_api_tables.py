"""The runtime APIs that the node answers: their signatures, and the structs they return."""

from dataclasses import dataclass

from localnet.chain_node.type_registry import Enum, Fields, Struct, Variant


@dataclass(frozen=True)
class Method:
    name: str
    inputs: Fields
    output: str


RUNTIME_APIS: dict[str, tuple[Method, ...]] = {
    "Metadata": (
        Method("metadata_versions", (), "Vec<u32>"),
        Method("metadata_at_version", (("version", "u32"),), "Option<Vec<u8>>"),
    ),
    "TransactionPaymentApi": (
        Method("query_info", (("uxt", "Vec<u8>"), ("len", "u32")), "RuntimeDispatchInfo"),
    ),
    "SubnetInfoRuntimeApi": (
        Method("get_metagraph", (("netuid", "NetUid"),), "Option<Metagraph>"),
        Method("get_subnet_hyperparams_v3", (("netuid", "NetUid"),), "Option<Vec<HyperparamEntry>>"),
        Method("get_next_epoch_start_block", (("netuid", "NetUid"),), "Option<u64>"),
    ),
    "NeuronInfoRuntimeApi": (
        Method("get_neurons", (("netuid", "NetUid"),), "Vec<NeuronInfo>"),
        Method("get_neurons_lite", (("netuid", "NetUid"),), "Vec<NeuronInfoLite>"),
    ),
    "StakeInfoRuntimeApi": (
        Method("get_stake_info_for_coldkey", (("coldkey_account", "AccountId32"),), "Vec<StakeInfo>"),
        Method(
            "get_stake_info_for_coldkeys",
            (("coldkey_accounts", "Vec<AccountId32>"),),
            "Vec<(AccountId32,Vec<StakeInfo>)>",
        ),
        Method(
            "get_stake_info_for_hotkey_coldkey_netuid",
            (
                ("hotkey_account", "AccountId32"),
                ("coldkey_account", "AccountId32"),
                ("netuid", "NetUid"),
            ),
            "Option<StakeInfo>",
        ),
        Method(
            "get_stake_availability_for_coldkeys",
            (("coldkey_accounts", "Vec<AccountId32>"), ("netuids", "Vec<NetUid>")),
            "BTreeMap<AccountId32,BTreeMap<NetUid,StakeAvailability>>",
        ),
    ),
    "DelegateInfoRuntimeApi": (
        Method(
            "get_delegated",
            (("coldkey_account", "AccountId32"),),
            "Vec<(DelegateInfo,(Compact<NetUid>,Compact<AlphaBalance>))>",
        ),
    ),
    "SwapRuntimeApi": (
        Method("current_alpha_price", (("netuid", "NetUid"),), "u64"),
        Method("current_alpha_price_all", (), "Vec<SubnetPrice>"),
    ),
    "BetaBasketRuntimeApi": (
        Method("get_root_basket_owed", (("coldkey", "AccountId32"),), "TaoBalance"),
        Method(
            "get_root_basket_positions", (("coldkey", "AccountId32"),), "Vec<(AccountId32,u64,TaoBalance)>"
        ),
    ),
}

_METAGRAPH: Fields = (
    ("netuid", "Compact<NetUid>"),
    *((name, "Vec<Compact<u8>>") for name in ("name", "symbol")),
    ("identity", "Option<SubnetIdentityV3>"),
    ("network_registered_at", "Compact<u64>"),
    *((name, "AccountId32") for name in ("owner_hotkey", "owner_coldkey")),
    *(("block", "Compact<u64>"), ("tempo", "Compact<u16>")),
    *((name, "Compact<u64>") for name in ("last_step", "blocks_since_last_step")),
    # pool and emission, all zero here
    ("subnet_emission", "Compact<u64>"),
    *((name, "Compact<AlphaBalance>") for name in ("alpha_in", "alpha_out")),
    ("tao_in", "Compact<TaoBalance>"),
    *((name, "Compact<AlphaBalance>") for name in ("alpha_out_emission", "alpha_in_emission")),
    *(("tao_in_emission", "Compact<TaoBalance>"), ("pending_alpha_emission", "Compact<AlphaBalance>")),
    *(("pending_root_emission", "Compact<TaoBalance>"), ("subnet_volume", "Compact<u128>")),
    ("moving_price", "FixedI128"),
    # hyperparameters
    *((name, "Compact<u16>") for name in ("rho", "kappa", "min_allowed_weights", "max_weights_limit")),
    *((name, "Compact<u64>") for name in ("weights_version", "weights_rate_limit")),
    *((name, "Compact<u16>") for name in ("activity_cutoff", "max_validators", "num_uids", "max_uids")),
    *(("burn", "Compact<TaoBalance>"), ("difficulty", "Compact<u64>")),
    *((name, "bool") for name in ("registration_allowed", "pow_registration_allowed")),
    ("immunity_period", "Compact<u16>"),
    *((name, "Compact<u64>") for name in ("min_difficulty", "max_difficulty")),
    *((name, "Compact<TaoBalance>") for name in ("min_burn", "max_burn")),
    ("adjustment_alpha", "Compact<u64>"),
    *(
        (name, "Compact<u16>")
        for name in ("adjustment_interval", "target_regs_per_interval", "max_regs_per_block")
    ),
    *(("serving_rate_limit", "Compact<u64>"), ("commit_reveal_weights_enabled", "bool")),
    *(("commit_reveal_period", "Compact<u64>"), ("liquid_alpha_enabled", "bool")),
    *((name, "Compact<u16>") for name in ("alpha_high", "alpha_low")),
    ("bonds_moving_avg", "Compact<u64>"),
    # one entry a uid
    *((name, "Vec<AccountId32>") for name in ("hotkeys", "coldkeys")),
    *(("identities", "Vec<Option<ChainIdentityV2>>"), ("axons", "Vec<AxonInfo>")),
    *((name, "Vec<bool>") for name in ("active", "validator_permit")),
    *(("pruning_score", "Vec<Compact<u16>>"), ("last_update", "Vec<Compact<u64>>")),
    ("emission", "Vec<Compact<AlphaBalance>>"),
    *((name, "Vec<Compact<u16>>") for name in ("dividends", "incentives", "consensus", "trust", "rank")),
    *(("block_at_registration", "Vec<Compact<u64>>"), ("alpha_stake", "Vec<Compact<AlphaBalance>>")),
    *((name, "Vec<Compact<TaoBalance>>") for name in ("tao_stake", "total_stake")),
)

_NEURON_HEAD: Fields = (
    *((name, "AccountId32") for name in ("hotkey", "coldkey")),
    *(("uid", "Compact<u16>"), ("netuid", "Compact<NetUid>"), ("active", "bool")),
    *(("axon_info", "AxonInfo"), ("prometheus_info", "PrometheusInfo")),
    *(("stake", "Vec<(AccountId32,Compact<AlphaBalance>)>"), ("rank", "Compact<u16>")),
    ("emission", "Compact<AlphaBalance>"),
    *((name, "Compact<u16>") for name in ("incentive", "consensus", "trust", "validator_trust", "dividends")),
    *(("last_update", "Compact<u64>"), ("validator_permit", "bool")),
)
_PRUNING_SCORE = ("pruning_score", "Compact<u16>")

API_TYPES: dict[str, Struct | Enum] = {
    "Metagraph": Struct("pallet_subtensor::rpc_info::metagraph::Metagraph", _METAGRAPH),
    "NeuronInfoLite": Struct(
        "pallet_subtensor::rpc_info::neuron_info::NeuronInfoLite", (*_NEURON_HEAD, _PRUNING_SCORE)
    ),
    "NeuronInfo": Struct(
        "pallet_subtensor::rpc_info::neuron_info::NeuronInfo",
        (
            *_NEURON_HEAD,
            *((name, "Vec<(Compact<u16>,Compact<u16>)>") for name in ("weights", "bonds")),
            _PRUNING_SCORE,
        ),
    ),
    "HyperparamEntry": Struct(
        "pallet_subtensor::rpc_info::subnet_info::HyperparamEntry",
        (("name", "Vec<u8>"), ("value", "HyperparamValue")),
    ),
    "HyperparamValue": Enum(
        "pallet_subtensor::rpc_info::subnet_info::HyperparamValue",
        (
            Variant(0, "Bool", (("", "bool"),)),
            Variant(1, "U16", (("", "Compact<u16>"),)),
            Variant(2, "U32", (("", "Compact<u32>"),)),
            Variant(3, "U64", (("", "Compact<u64>"),)),
            Variant(4, "U128", (("", "Compact<u128>"),)),
            Variant(5, "TaoBalance", (("", "Compact<TaoBalance>"),)),
            Variant(6, "I32F32", (("", "FixedI64"),)),
            Variant(7, "U64F64", (("", "FixedU128"),)),
        ),
    ),
    "StakeInfo": Struct(
        "pallet_subtensor::rpc_info::stake_info::StakeInfo",
        (
            *((name, "AccountId32") for name in ("hotkey", "coldkey")),
            *(("netuid", "Compact<NetUid>"), ("stake", "Compact<AlphaBalance>")),
            *(("locked", "Compact<u64>"), ("emission", "Compact<AlphaBalance>")),
            *(("drain", "Compact<u64>"), ("is_registered", "bool")),
        ),
    ),
    "StakeAvailability": Struct(
        "pallet_subtensor::rpc_info::stake_info::StakeAvailability",
        tuple((name, "AlphaBalance") for name in ("total", "locked", "available")),
    ),
    "DelegateInfo": Struct(
        "pallet_subtensor::rpc_info::delegate_info::DelegateInfo",
        (
            *(("delegate_ss58", "AccountId32"), ("take", "Compact<u16>")),
            ("nominators", "Vec<(AccountId32,Vec<(Compact<NetUid>,Compact<AlphaBalance>)>)>"),
            ("owner_ss58", "AccountId32"),
            *((name, "Vec<Compact<NetUid>>") for name in ("registrations", "validator_permits")),
            *((name, "Compact<AlphaBalance>") for name in ("return_per_1000", "total_daily_return")),
        ),
    ),
    "SubnetPrice": Struct(
        "pallet_subtensor_swap_runtime_api::SubnetPrice", (("netuid", "NetUid"), ("price", "u64"))
    ),
}
