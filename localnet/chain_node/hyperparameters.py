"""The subnet hyperparameters: where each is stored, how the runtime API names it, and its value at genesis.

Genesis values are those of a new subnet on the main network, except where the comment says why a
development node wants another.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

HyperparameterValue = int | bool

_RAO_PER_TAO = 10**9
_U16_MAX = 65_535
_U64F64_ONE = 1 << 64


@dataclass(frozen=True)
class Hyperparameter:
    """`value_tag` is the variant of `HyperparamValue` that carries it, empty where the API leaves it out."""

    name: str
    storage: str
    value_type: str
    value_tag: str
    genesis: HyperparameterValue


_TABLE = (
    Hyperparameter("rho", "Rho", "u16", "U16", 10),
    Hyperparameter("kappa", "Kappa", "u16", "U16", 32_767),
    # 5000 blocks on the main network; here a full subnet would refuse every newcomer for over an hour
    Hyperparameter("immunity_period", "ImmunityPeriod", "u16", "U16", 100),
    Hyperparameter("min_allowed_weights", "MinAllowedWeights", "u16", "U16", 1),
    Hyperparameter("max_weights_limit", "MaxWeightsLimit", "u16", "U16", _U16_MAX),
    Hyperparameter("tempo", "Tempo", "u16", "U16", 360),
    Hyperparameter("min_difficulty", "MinDifficulty", "u64", "U64", 1),
    Hyperparameter("max_difficulty", "MaxDifficulty", "u64", "U64", (1 << 62) - 1),
    Hyperparameter("difficulty", "Difficulty", "u64", "U64", 10_000_000),
    Hyperparameter("weights_version", "WeightsVersionKey", "u64", "U64", 0),
    Hyperparameter("weights_rate_limit", "WeightsSetRateLimit", "u64", "U64", 100),
    Hyperparameter("adjustment_interval", "AdjustmentInterval", "u16", "U16", 360),
    Hyperparameter("activity_cutoff", "ActivityCutoff", "u16", "U16", 5_000),
    Hyperparameter("activity_cutoff_factor", "ActivityCutoffFactorMilli", "u32", "U32", 13_889),
    Hyperparameter("registration_allowed", "NetworkRegistrationAllowed", "bool", "Bool", True),
    Hyperparameter(
        "network_pow_registration_allowed", "NetworkPowRegistrationAllowed", "bool", "Bool", False
    ),
    Hyperparameter("target_regs_per_interval", "TargetRegistrationsPerInterval", "u16", "U16", 256),
    Hyperparameter("burn", "Burn", "TaoBalance", "", _RAO_PER_TAO),
    Hyperparameter("min_burn", "MinBurn", "TaoBalance", "TaoBalance", 500_000),
    Hyperparameter("max_burn", "MaxBurn", "TaoBalance", "TaoBalance", 100 * _RAO_PER_TAO),
    Hyperparameter("bonds_moving_avg", "BondsMovingAverage", "u64", "U64", 900_000),
    Hyperparameter("max_regs_per_block", "MaxRegistrationsPerBlock", "u16", "U16", 256),
    # 50 blocks on the main network; a miner that restarts here must not wait for a minute
    Hyperparameter("serving_rate_limit", "ServingRateLimit", "u64", "U64", 5),
    Hyperparameter("max_validators", "MaxAllowedValidators", "u16", "U16", 64),
    Hyperparameter("adjustment_alpha", "AdjustmentAlpha", "u64", "U64", 0),
    Hyperparameter("commit_reveal_period", "RevealPeriodEpochs", "u64", "U64", 1),
    Hyperparameter("commit_reveal_weights_enabled", "CommitRevealWeightsEnabled", "bool", "Bool", False),
    Hyperparameter("liquid_alpha_enabled", "LiquidAlphaOn", "bool", "Bool", False),
    Hyperparameter("bonds_penalty", "BondsPenalty", "u16", "U16", _U16_MAX),
    Hyperparameter("alpha_sigmoid_steepness", "AlphaSigmoidSteepness", "i16", "I32F32", 1_000),
    Hyperparameter("min_childkey_take", "MinChildkeyTakePerSubnet", "PerU16", "U16", 0),
    Hyperparameter("owner_immune_neuron_limit", "ImmuneOwnerUidsLimit", "u16", "U16", 1),
    Hyperparameter("max_allowed_uids", "MaxAllowedUids", "u16", "U16", 256),
    Hyperparameter("burn_increase_mult", "BurnIncreaseMult", "FixedU128", "U64F64", _U64F64_ONE),
    Hyperparameter("burn_half_life", "BurnHalfLife", "u16", "U16", 360),
    Hyperparameter("collateral_lock_share", "CollateralLockShare", "u16", "U16", 0),
    Hyperparameter("collateral_drain_ratio", "CollateralDrainRatio", "FixedU128", "U64F64", 0),
    Hyperparameter("yuma3_enabled", "Yuma3On", "bool", "Bool", False),
    Hyperparameter("subnet_emission_enabled", "SubnetEmissionEnabled", "bool", "Bool", False),
    Hyperparameter("bonds_reset_enabled", "BondsResetOn", "bool", "Bool", False),
    Hyperparameter("transfers_enabled", "TransferToggle", "bool", "Bool", True),
    Hyperparameter("owner_cut_enabled", "OwnerCutEnabled", "bool", "Bool", False),
    Hyperparameter("owner_cut_auto_lock_enabled", "OwnerCutAutoLockEnabled", "bool", "Bool", False),
)

HYPERPARAMETERS: Mapping[str, Hyperparameter] = MappingProxyType({entry.name: entry for entry in _TABLE})
