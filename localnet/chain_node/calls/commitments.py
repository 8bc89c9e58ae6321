"""Commitments: a registered hotkey publishes a few bytes."""

from localnet.chain_node.dispatch import Call, Event, ModuleError, Origin, ensure
from localnet.chain_node.ledger import Ledger
from localnet.chain_node.neurons import subnet_exists, uid_of
from localnet.chain_node.pallet_tables import MAX_COMMITMENT_FIELDS

_NO_DEPOSIT = bytes(8)
_NETUID_BYTES = 2


def set_commitment(ledger: Ledger, origin: Origin, call: Call) -> list[Event]:
    """Replaces the hotkey's commitment; no deposit is taken, and there is no quota of bytes."""
    netuid, info = call.arguments["netuid"], call.arguments["info"]
    allowed = subnet_exists(ledger, netuid) and uid_of(ledger, netuid, origin.signer) is not None
    ensure(allowed, ModuleError("Commitments", "AccountNotAllowedCommit"))
    few_enough = len(info["fields"]) <= MAX_COMMITMENT_FIELDS
    ensure(few_enough, ModuleError("Commitments", "TooManyFieldsInCommitmentInfo"))
    record = _NO_DEPOSIT + origin.block_number.to_bytes(4, "little") + _encoded_info(call)
    ledger.put_encoded("Commitments.CommitmentOf", netuid, origin.signer, record)
    ledger.put("Commitments.LastCommitment", netuid, origin.signer, origin.block_number)
    return [Event("Commitments", "Commitment", {"netuid": netuid, "who": origin.signer})]


def _encoded_info(call: Call) -> bytes:
    arguments = call.argument_bytes()
    arguments.take(_NETUID_BYTES)
    return arguments.rest()
