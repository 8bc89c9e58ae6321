"""Timelocked weight commits: stored for everyone to see, and never opened.

The weights inside are encrypted to a future round of the drand network, and whoever opens them needs that
round's signature, which this node does not fetch.
"""

from dataclasses import replace

from bittensor._transport.codec import ss58_decode

from localnet.chain_node.calls.weights import MAIN_MECHANISM, passes_rate_limit, registered_uid
from localnet.chain_node.dispatch import Call, Event, Origin, ensure, subtensor_error
from localnet.chain_node.ledger import Ledger
from localnet.chain_node.neurons import set_entry
from localnet.chain_node.runtime import blake2_256
from localnet.chain_node.scale_encoding import Reader, compact, sized
from localnet.chain_node.wire_values import to_hex

MAX_COMMITS_PER_EPOCH = 10
"""The runtime refuses a hotkey's eleventh."""

COMMITS_KEPT_EPOCHS = 16
"""How long a commit stays readable; the main network drops one that could not be opened after its epoch."""

_NETUID_BYTES = 2
_MECID_BYTES = 1
_ITEM = "SubtensorModule.TimelockedWeightCommits"


def commit_timelocked_weights(ledger: Ledger, origin: Origin, call: Call) -> list[Event]:
    mecid = bytes([MAIN_MECHANISM])
    split = len(call.data) - len(call.argument_bytes().rest()) + _NETUID_BYTES
    mechanism_call = replace(
        call,
        arguments={**call.arguments, "mecid": MAIN_MECHANISM},
        data=call.data[:split] + mecid + call.data[split:],
    )
    return commit_timelocked_mechanism_weights(ledger, origin, mechanism_call)


def commit_timelocked_mechanism_weights(ledger: Ledger, origin: Origin, call: Call) -> list[Event]:
    netuid, reveal_round = call.arguments["netuid"], call.arguments["reveal_round"]
    enabled = ledger.get("SubtensorModule.CommitRevealWeightsEnabled", netuid)
    ensure(enabled, subtensor_error("CommitRevealDisabled"))
    ensure(call.arguments["mecid"] == MAIN_MECHANISM, subtensor_error("MechanismDoesNotExist"))
    version = ledger.get("SubtensorModule.CommitRevealWeightsVersion")
    same_version = call.arguments["commit_reveal_version"] == version
    ensure(same_version, subtensor_error("IncorrectCommitRevealVersion"))
    uid = registered_uid(ledger, netuid, origin.signer)
    in_time = passes_rate_limit(ledger, netuid, uid, origin.block_number)
    ensure(in_time, subtensor_error("CommittingWeightsTooFast"))
    ciphertext = _ciphertext(call)
    _store(ledger, origin, netuid, ciphertext, reveal_round)
    set_entry(ledger, "LastUpdate", netuid, uid, origin.block_number)
    fields = (origin.signer, netuid, to_hex(blake2_256(ciphertext)), reveal_round)
    return [Event("SubtensorModule", "TimelockedWeightsCommitted", fields)]


def _ciphertext(call: Call) -> bytes:
    arguments = call.argument_bytes()
    arguments.take(_NETUID_BYTES + _MECID_BYTES)
    return arguments.sized()


def _store(ledger: Ledger, origin: Origin, netuid: int, ciphertext: bytes, reveal_round: int) -> None:
    epoch = ledger.get("SubtensorModule.SubnetEpochIndex", netuid)
    own = sum(1 for hotkey, *_ in ledger.get(_ITEM, netuid, epoch) if hotkey == origin.signer)
    ensure(own < MAX_COMMITS_PER_EPOCH, subtensor_error("TooManyUnrevealedCommits"))
    entry = (
        bytes.fromhex(ss58_decode(origin.signer))
        + origin.block_number.to_bytes(8, "little")
        + sized(ciphertext)
        + reveal_round.to_bytes(8, "little")
    )
    stored = Reader(ledger.get_encoded(_ITEM, netuid, epoch) or compact(0))
    count = stored.compact()
    ledger.put_encoded(_ITEM, netuid, epoch, compact(count + 1) + stored.rest() + entry)
