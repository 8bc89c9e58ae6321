"""`get_metagraph`: a whole subnet in one answer. Scores, emissions and the pool are always zero."""

from typing import Any

from localnet.chain_node.hyperparameters import HYPERPARAMETERS
from localnet.chain_node.ledger import LedgerReader
from localnet.chain_node.neurons import neuron_count, subnet_exists
from localnet.chain_node.queries.neurons import NOT_SERVING_AXON

_FIELD_OF_HYPERPARAMETER = {
    "network_pow_registration_allowed": "pow_registration_allowed",
    "max_allowed_uids": "max_uids",
}
_ZERO_FIELDS = (
    *("subnet_emission", "alpha_in", "alpha_out", "tao_in", "alpha_out_emission", "alpha_in_emission"),
    *("tao_in_emission", "pending_alpha_emission", "pending_root_emission", "subnet_volume"),
)
_DEFAULT_ALPHA_LOW, _DEFAULT_ALPHA_HIGH = 45_875, 58_982
"""0.7 and 0.9 of a u16, the runtime's defaults for liquid alpha."""

_ZERO_COLUMNS = (
    *("pruning_score", "emission", "dividends", "incentives", "consensus", "trust", "rank"),
    "tao_stake",
)


def metagraph(ledger: LedgerReader, netuid: int) -> dict[str, Any] | None:
    """None where there is no such subnet."""
    if not subnet_exists(ledger, netuid):
        return None
    fields = dict.fromkeys(_ZERO_FIELDS, 0) | {"moving_price": {"bits": 0}}
    fields |= {"alpha_low": _DEFAULT_ALPHA_LOW, "alpha_high": _DEFAULT_ALPHA_HIGH}
    return fields | _overview(ledger, netuid) | _hyperparameters(ledger, netuid) | _columns(ledger, netuid)


def _overview(ledger: LedgerReader, netuid: int) -> dict[str, Any]:
    block = ledger.get("System.Number")
    last_step = ledger.get("SubtensorModule.LastMechansimStepBlock", netuid)
    identity = ledger.get("SubtensorModule.SubnetIdentitiesV3", netuid)
    return {
        "netuid": netuid,
        "name": list(identity["subnet_name"].encode()) if identity else [],
        "symbol": list(ledger.get("SubtensorModule.TokenSymbol", netuid).encode()),
        "identity": identity,
        "network_registered_at": ledger.get("SubtensorModule.NetworkRegisteredAt", netuid),
        "owner_hotkey": ledger.get("SubtensorModule.SubnetOwnerHotkey", netuid),
        "owner_coldkey": ledger.get("SubtensorModule.SubnetOwner", netuid),
        "block": block,
        "last_step": last_step,
        "blocks_since_last_step": block - last_step,
        "num_uids": neuron_count(ledger, netuid),
    }


def _hyperparameters(ledger: LedgerReader, netuid: int) -> dict[str, Any]:
    return {
        _FIELD_OF_HYPERPARAMETER.get(name, name): ledger.get(f"SubtensorModule.{entry.storage}", netuid)
        for name, entry in HYPERPARAMETERS.items()
    }


def _columns(ledger: LedgerReader, netuid: int) -> dict[str, Any]:
    uids = range(neuron_count(ledger, netuid))
    hotkeys = [ledger.get("SubtensorModule.Keys", netuid, uid) for uid in uids]
    coldkeys = [ledger.get("SubtensorModule.Owner", hotkey) for hotkey in hotkeys]
    stakes = [ledger.get("SubtensorModule.TotalHotkeyAlpha", hotkey, netuid) for hotkey in hotkeys]
    return {name: [0] * len(uids) for name in _ZERO_COLUMNS} | {
        "hotkeys": hotkeys,
        "coldkeys": coldkeys,
        "identities": [ledger.get("SubtensorModule.IdentitiesV2", coldkey) for coldkey in coldkeys],
        "axons": [ledger.get("SubtensorModule.Axons", netuid, key) or NOT_SERVING_AXON for key in hotkeys],
        "active": ledger.get("SubtensorModule.Active", netuid),
        "validator_permit": ledger.get("SubtensorModule.ValidatorPermit", netuid),
        "last_update": ledger.get("SubtensorModule.LastUpdate", netuid),
        "block_at_registration": [ledger.get("SubtensorModule.BlockAtRegistration", netuid, u) for u in uids],
        "alpha_stake": stakes,
        "total_stake": stakes,
    }
