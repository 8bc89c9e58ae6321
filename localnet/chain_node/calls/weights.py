"""Weights in plain sight. The order of the checks is the runtime's, so that the same error comes first."""

from collections.abc import Sequence
from dataclasses import replace

from localnet.chain_node.dispatch import Call, Event, Origin, ensure, subtensor_error
from localnet.chain_node.ledger import Ledger, LedgerReader
from localnet.chain_node.neurons import neuron_count, set_entry, subnet_exists, uid_of

U16_MAX = 65_535
MAIN_MECHANISM = 0


def set_weights(ledger: Ledger, origin: Origin, call: Call) -> list[Event]:
    arguments = {**call.arguments, "mecid": MAIN_MECHANISM}
    return set_mechanism_weights(ledger, origin, replace(call, arguments=arguments))


def set_mechanism_weights(ledger: Ledger, origin: Origin, call: Call) -> list[Event]:
    netuid, uids, values = (call.arguments[name] for name in ("netuid", "dests", "weights"))
    _ensure_plain_row(ledger, call, netuid)
    uid = registered_uid(ledger, netuid, origin.signer)
    version = ledger.get("SubtensorModule.WeightsVersionKey", netuid)
    ensure(call.arguments["version_key"] >= version, subtensor_error("IncorrectWeightVersionKey"))
    in_time = passes_rate_limit(ledger, netuid, uid, origin.block_number)
    ensure(in_time, subtensor_error("SettingWeightsTooFast"))
    is_self_weight = list(uids) == [uid]
    permitted = is_self_weight or ledger.get("SubtensorModule.ValidatorPermit", netuid)[uid]
    ensure(permitted, subtensor_error("NeuronNoValidatorPermit"))
    _ensure_known_uids(ledger, netuid, uids)
    if not is_self_weight:
        _ensure_within_limits(ledger, netuid, values)
    row = list(zip(uids, _upscaled(values), strict=True))
    ledger.put("SubtensorModule.Weights", netuid, uid, row)
    set_entry(ledger, "LastUpdate", netuid, uid, origin.block_number)
    return [Event("SubtensorModule", "WeightsSet", (netuid, uid))]


def registered_uid(ledger: LedgerReader, netuid: int, hotkey: str) -> int:
    """The hotkey's uid.

    Raises:
        ModuleError: HotKeyNotRegisteredInSubNet.
    """
    uid = uid_of(ledger, netuid, hotkey)
    if uid is None:
        raise subtensor_error("HotKeyNotRegisteredInSubNet")
    return uid


def passes_rate_limit(ledger: LedgerReader, netuid: int, uid: int, block_number: int) -> bool:
    """Whether enough blocks have passed since the neuron last set or committed weights."""
    last_update = ledger.get("SubtensorModule.LastUpdate", netuid)[uid]
    limit_blocks = ledger.get("SubtensorModule.WeightsSetRateLimit", netuid)
    return bool(last_update == 0 or block_number - last_update >= limit_blocks)


def _ensure_plain_row(ledger: LedgerReader, call: Call, netuid: int) -> None:
    commit_reveal = ledger.get("SubtensorModule.CommitRevealWeightsEnabled", netuid)
    ensure(not commit_reveal, subtensor_error("CommitRevealEnabled"))
    ensure(call.arguments["mecid"] == MAIN_MECHANISM, subtensor_error("MechanismDoesNotExist"))
    count = len(call.arguments["dests"])
    ensure(count == len(call.arguments["weights"]), subtensor_error("WeightVecNotEqualSize"))
    ensure(subnet_exists(ledger, netuid), subtensor_error("SubnetNotExists"))
    ensure(count <= neuron_count(ledger, netuid), subtensor_error("UidsLengthExceedUidsInSubNet"))


def _ensure_known_uids(ledger: LedgerReader, netuid: int, uids: Sequence[int]) -> None:
    ensure(len(set(uids)) == len(uids), subtensor_error("DuplicateUids"))
    count = neuron_count(ledger, netuid)
    ensure(all(uid < count for uid in uids), subtensor_error("UidVecContainInvalidOne"))


def _ensure_within_limits(ledger: LedgerReader, netuid: int, values: Sequence[int]) -> None:
    minimum = min(ledger.get("SubtensorModule.MinAllowedWeights", netuid), neuron_count(ledger, netuid))
    ensure(len(values) >= minimum, subtensor_error("WeightVecLengthIsLow"))
    limit = ledger.get("SubtensorModule.MaxWeightsLimit", netuid)
    within_limit = max(values, default=0) * U16_MAX <= limit * sum(values)
    ensure(limit == U16_MAX or within_limit, subtensor_error("MaxWeightExceeded"))


def _upscaled(values: Sequence[int]) -> Sequence[int]:
    """Scales a row so that its largest weight is the largest u16, as the runtime stores it."""
    largest = max(values, default=0)
    return [value * U16_MAX // largest for value in values] if largest else values
