"""`get_neurons` and `get_neurons_lite`: one record a uid."""

from typing import Any

from localnet.chain_node.ledger import LedgerReader
from localnet.chain_node.neurons import neuron_count, subnet_exists

NOT_SERVING_AXON: dict[str, int] = dict.fromkeys(
    ("block", "version", "ip", "port", "ip_type", "protocol", "placeholder1", "placeholder2"), 0
)
_NOT_SERVING_PROMETHEUS: dict[str, int] = dict.fromkeys(("block", "version", "ip", "port", "ip_type"), 0)

_SCORES_WITHOUT_CONSENSUS: dict[str, int] = dict.fromkeys(
    (
        *("rank", "emission", "incentive", "consensus", "trust"),
        *("validator_trust", "dividends", "pruning_score"),
    ),
    0,
)


def neurons_lite(ledger: LedgerReader, netuid: int) -> list[dict[str, Any]]:
    if not subnet_exists(ledger, netuid):
        return []
    return [_record(ledger, netuid, uid) for uid in range(neuron_count(ledger, netuid))]


def neurons(ledger: LedgerReader, netuid: int) -> list[dict[str, Any]]:
    return [
        record | {"weights": ledger.get("SubtensorModule.Weights", netuid, record["uid"]), "bonds": []}
        for record in neurons_lite(ledger, netuid)
    ]


def _record(ledger: LedgerReader, netuid: int, uid: int) -> dict[str, Any]:
    hotkey = ledger.get("SubtensorModule.Keys", netuid, uid)
    coldkey = ledger.get("SubtensorModule.Owner", hotkey)
    stake_rao = ledger.get("SubtensorModule.TotalHotkeyAlpha", hotkey, netuid)
    return _SCORES_WITHOUT_CONSENSUS | {
        "hotkey": hotkey,
        "coldkey": coldkey,
        "uid": uid,
        "netuid": netuid,
        "active": ledger.get("SubtensorModule.Active", netuid)[uid],
        "axon_info": ledger.get("SubtensorModule.Axons", netuid, hotkey) or NOT_SERVING_AXON,
        "prometheus_info": ledger.get("SubtensorModule.Prometheus", netuid, hotkey)
        or _NOT_SERVING_PROMETHEUS,
        "stake": [(coldkey, stake_rao)],
        "last_update": ledger.get("SubtensorModule.LastUpdate", netuid)[uid],
        "validator_permit": ledger.get("SubtensorModule.ValidatorPermit", netuid)[uid],
    }
