"""What the chain says of a validator: its stake, and how old its weights are."""

from collections.abc import Sequence

from shared.chain import Neuron
from shared.diagnosis import Finding, bad, note, ok, warn
from shared.diagnosis_chain import BLOCK_S

RAO = 10**9

ACTIVITY_CUTOFF_BLOCKS = 5000
"""The chain's default: weights that are older count for nothing, and their validator as inactive."""

MISSED_EPOCHS = 3
"""Weights that are older than so many epochs have not been set when they should have been."""


def judge_stake(own: Neuron) -> Finding:
    """Whether anything is staked."""
    stake = own.stake_rao / RAO
    if own.stake_rao == 0:
        return warn("stake", "nothing is staked on the hotkey", "btcli stake add")
    return ok("stake", f"{stake:,.3f} staked on the hotkey")


def judge_weights(own: Neuron, head: int, epoch_seconds: float, rate_limit_blocks: int) -> Sequence[Finding]:
    """How old the weights on chain are; the chain notes when they, or a commitment to them, were accepted."""
    if own.last_update == 0:
        return [note("weights", "none were ever set by this hotkey; the first follow the first epoch")]
    age = max(0, head - own.last_update)
    words = (
        f"set {age} blocks ago ({age * BLOCK_S / 3600:.1f} h); the chain takes them every {rate_limit_blocks}"
    )
    expected = max(MISSED_EPOCHS * epoch_seconds / BLOCK_S, 2 * rate_limit_blocks)
    cure = "see `weights` of the auditor's GET /health, and docs/RUNBOOKS.md, “Weights are not set”"
    if age >= ACTIVITY_CUTOFF_BLOCKS:
        return [bad("weights", f"{words}; after {ACTIVITY_CUTOFF_BLOCKS} they count for nothing", cure)]
    if age > expected:
        return [warn("weights", f"{words}; new ones were due after {expected:.0f}", cure)]
    return [ok("weights", words)]
