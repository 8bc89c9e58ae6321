"""The first block's state: one subnet without neurons."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from localnet.chain_node.hyperparameters import HYPERPARAMETERS, HyperparameterValue
from localnet.chain_node.ledger import Ledger
from localnet.chain_node.pallet_tables import COMMITMENT_SPACE_BYTES
from localnet.chain_node.subtensor_pallet import COMMIT_REVEAL_VERSION

_SUBNET_NAME = b"localnet"
_SUBNET_SYMBOL = "ლ".encode()


@dataclass(frozen=True)
class Genesis:
    """`overrides` replaces genesis values of hyperparameters, by name."""

    netuid: int
    overrides: Mapping[str, HyperparameterValue] = field(default_factory=dict)


def write_genesis(ledger: Ledger, genesis: Genesis, shield_public_key: bytes) -> None:
    """Writes the state of block 0."""
    netuid = genesis.netuid
    ledger.put("SubtensorModule.NetworksAdded", netuid, True)
    ledger.put("SubtensorModule.TokenSymbol", netuid, _SUBNET_SYMBOL)
    ledger.put("SubtensorModule.MechanismCountCurrent", netuid, 1)
    ledger.put("SubtensorModule.CommitRevealWeightsVersion", COMMIT_REVEAL_VERSION)
    identity = {"subnet_name": _SUBNET_NAME, "description": b"a subnet on one machine"}
    others = ("github_repo", "subnet_contact", "subnet_url", "discord", "logo_url", "additional")
    ledger.put("SubtensorModule.SubnetIdentitiesV3", netuid, identity | dict.fromkeys(others, b""))
    ledger.put("MevShield.NextKey", shield_public_key)
    ledger.put("Commitments.MaxSpace", COMMITMENT_SPACE_BYTES)
    for name, entry in HYPERPARAMETERS.items():
        put_hyperparameter(ledger, netuid, name, genesis.overrides.get(name, entry.genesis))


def put_hyperparameter(ledger: Ledger, netuid: int, name: str, value: HyperparameterValue) -> None:
    """Sets one hyperparameter of a subnet.

    Raises:
        KeyError: there is no hyperparameter of that name.
        ValueError, TypeError, OverflowError: the value does not fit its type.
    """
    entry = HYPERPARAMETERS[name]
    encodable = {"bits": value} if entry.value_type == "FixedU128" else value
    ledger.put(f"SubtensorModule.{entry.storage}", netuid, encodable)
