"""System: remarks, which change nothing."""

from localnet.chain_node.dispatch import Call, Event, Origin
from localnet.chain_node.ledger import Ledger
from localnet.chain_node.runtime import blake2_256
from localnet.chain_node.wire_values import to_hex


def remark(ledger: Ledger, origin: Origin, call: Call) -> list[Event]:
    return []


def remark_with_event(ledger: Ledger, origin: Origin, call: Call) -> list[Event]:
    digest = to_hex(blake2_256(call.argument_bytes().sized()))
    return [Event("System", "Remarked", {"sender": origin.signer, "hash": digest})]
