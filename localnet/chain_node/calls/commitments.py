"""Commitments: a registered hotkey publishes a few bytes."""

from localnet.chain_node.dispatch import Call, Event, ModuleError, Origin, ensure
from localnet.chain_node.ledger import Ledger
from localnet.chain_node.neurons import subnet_exists, uid_of
from localnet.chain_node.pallet_tables import LEAST_COMMITMENT_BYTES, MAX_COMMITMENT_FIELDS

_NO_DEPOSIT = bytes(8)
_NETUID_BYTES = 2


def set_commitment(ledger: Ledger, origin: Origin, call: Call) -> list[Event]:
    """Replaces the hotkey's commitment, within its bytes of this epoch; no deposit is taken."""
    netuid, info = call.arguments["netuid"], call.arguments["info"]
    allowed = subnet_exists(ledger, netuid) and uid_of(ledger, netuid, origin.signer) is not None
    ensure(allowed, ModuleError("Commitments", "AccountNotAllowedCommit"))
    few_enough = len(info["fields"]) <= MAX_COMMITMENT_FIELDS
    ensure(few_enough, ModuleError("Commitments", "TooManyFieldsInCommitmentInfo"))
    _use_space(ledger, netuid, origin.signer, len(_encoded_info(call)))
    record = _NO_DEPOSIT + origin.block_number.to_bytes(4, "little") + _encoded_info(call)
    ledger.put_encoded("Commitments.CommitmentOf", netuid, origin.signer, record)
    ledger.put("Commitments.LastCommitment", netuid, origin.signer, origin.block_number)
    return [Event("Commitments", "Commitment", {"netuid": netuid, "who": origin.signer})]


def _use_space(ledger: Ledger, netuid: int, hotkey: str, size_bytes: int) -> None:
    epoch = ledger.get("SubtensorModule.SubnetEpochIndex", netuid)
    usage = ledger.get("Commitments.UsedSpaceOf", netuid, hotkey)
    used = usage["used_space"] if usage is not None and usage["last_epoch"] == epoch else 0
    used += max(size_bytes, LEAST_COMMITMENT_BYTES)
    fits = used <= ledger.get("Commitments.MaxSpace")
    ensure(fits, ModuleError("Commitments", "SpaceLimitExceeded"))
    ledger.put("Commitments.UsedSpaceOf", netuid, hotkey, {"last_epoch": epoch, "used_space": used})


def _encoded_info(call: Call) -> bytes:
    arguments = call.argument_bytes()
    arguments.take(_NETUID_BYTES)
    return arguments.rest()
