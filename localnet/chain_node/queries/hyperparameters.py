"""`get_subnet_hyperparams_v3`: every hyperparameter of a subnet by name, with a tag for its type."""

from typing import Any

from localnet.chain_node.hyperparameters import HYPERPARAMETERS, Hyperparameter
from localnet.chain_node.ledger import LedgerReader
from localnet.chain_node.neurons import subnet_exists

_I32F32_ONE = 1 << 32


def subnet_hyperparameters(ledger: LedgerReader, netuid: int) -> list[dict[str, Any]] | None:
    """None where there is no such subnet."""
    if not subnet_exists(ledger, netuid):
        return None
    return [
        {"name": entry.name.encode(), "value": {entry.value_tag: _value(ledger, netuid, entry)}}
        for entry in HYPERPARAMETERS.values()
        if entry.value_tag
    ]


def _value(ledger: LedgerReader, netuid: int, entry: Hyperparameter) -> Any:
    stored = ledger.get(f"SubtensorModule.{entry.storage}", netuid)
    return {"bits": stored * _I32F32_ONE} if entry.value_tag == "I32F32" else stored
