"""MevShield: the carrier of an encrypted extrinsic. What is inside executes after it, in the same block."""

from localnet.chain_node.dispatch import Call, Event, Origin
from localnet.chain_node.ledger import Ledger
from localnet.chain_node.runtime import blake2_256
from localnet.chain_node.wire_values import to_hex


def submit_encrypted(ledger: Ledger, origin: Origin, call: Call) -> list[Event]:
    digest = to_hex(blake2_256(call.argument_bytes().sized()))
    return [Event("MevShield", "EncryptedSubmitted", {"id": digest, "who": origin.signer})]
