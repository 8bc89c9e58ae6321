"""The calls that the node executes, by `Pallet.call`."""

from collections.abc import Mapping
from types import MappingProxyType

from localnet.chain_node.calls.balances import transfer_all, transfer_allow_death, transfer_keep_alive
from localnet.chain_node.calls.commitments import set_commitment
from localnet.chain_node.calls.registration import burned_register
from localnet.chain_node.calls.serving import serve_axon, serve_prometheus
from localnet.chain_node.calls.shielding import submit_encrypted
from localnet.chain_node.calls.system import remark, remark_with_event
from localnet.chain_node.calls.weight_commits import (
    commit_timelocked_mechanism_weights,
    commit_timelocked_weights,
)
from localnet.chain_node.calls.weights import set_mechanism_weights, set_weights
from localnet.chain_node.dispatch import Dispatchable

CALLS: Mapping[str, Dispatchable] = MappingProxyType(
    {
        "System.remark": remark,
        "System.remark_with_event": remark_with_event,
        "Balances.transfer_allow_death": transfer_allow_death,
        "Balances.transfer_keep_alive": transfer_keep_alive,
        "Balances.transfer_all": transfer_all,
        "SubtensorModule.set_weights": set_weights,
        "SubtensorModule.set_mechanism_weights": set_mechanism_weights,
        "SubtensorModule.commit_timelocked_weights": commit_timelocked_weights,
        "SubtensorModule.commit_timelocked_mechanism_weights": commit_timelocked_mechanism_weights,
        "SubtensorModule.serve_axon": serve_axon,
        "SubtensorModule.serve_prometheus": serve_prometheus,
        "SubtensorModule.burned_register": burned_register,
        "Commitments.set_commitment": set_commitment,
        "MevShield.submit_encrypted": submit_encrypted,
    }
)
