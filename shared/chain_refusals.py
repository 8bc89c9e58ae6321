"""What the chain, its transaction pool or the SDK refuses a call for, by what can be done about it.

The names are those of the runtime's errors, of pool refusals as the SDK calls them
(`bittensor.error_map`), and of the SDK's own categories where it refused before it asked.
"""

from collections.abc import Mapping
from enum import Enum

from bittensor.result import ChainError as SdkChainError


class Refusal(Enum):
    """The value says what to do."""

    RATE_LIMIT = "the chain takes this call again after some blocks"
    NOT_REGISTERED = "register the hotkey"
    NO_PERMIT = "a validator permit goes to the hotkeys with the most stake: add stake"
    TOO_LITTLE_STAKE = "add stake to the hotkey"
    BAD_NONCE = "sign again with the nonce that the chain expects"
    NEXT_BLOCK = "it passes within a block: the pool was full, or the runtime has just changed"
    REBUILD = "the subnet's settings have changed since the call was built: build it again"
    TOO_MANY_COMMITS = "earlier commits must be revealed first, at the subnet's next epochs"
    SPACE = "this epoch's bytes for commitments are used up; they come back with the next"
    NO_FEE = "the account can't pay the fee"
    OUTDATED = "this release does not know the chain's format: update it"
    OTHER = "only a person can tell"


_NAMES: Mapping[Refusal, tuple[str, ...]] = {
    Refusal.RATE_LIMIT: (
        "rate_limited",
        "SettingWeightsTooFast",
        "CommittingWeightsTooFast",
        "RateLimitExceeded",
        "TxRateLimitExceeded",
        "NetworkTxRateLimitExceeded",
        "ServingRateLimitExceeded",
    ),
    Refusal.NOT_REGISTERED: (
        "not_registered",
        "HotKeyNotRegisteredInSubNet",
        "HotKeyNotRegisteredInNetwork",
        "HotKeyAccountNotExists",
        "UidNotFound",
        "AccountNotAllowedCommit",
    ),
    Refusal.NO_PERMIT: ("not_authorized", "NeuronNoValidatorPermit"),
    Refusal.TOO_LITTLE_STAKE: (
        "insufficient_balance",
        "NotEnoughStakeToSetWeights",
        "StakeAmountTooLow",
        "NotEnoughStake",
    ),
    Refusal.BAD_NONCE: ("Stale", "Future"),
    Refusal.NEXT_BLOCK: ("PoolFull", "PriorityTooLow", "ExhaustsResources", "AncientBirthBlock", "BadProof"),
    Refusal.REBUILD: (
        "CommitRevealEnabled",
        "CommitRevealDisabled",
        "IncorrectWeightVersionKey",
        "InvalidRevealRound",
    ),
    Refusal.TOO_MANY_COMMITS: ("TooManyUnrevealedCommits", "CommitQueueFull"),
    Refusal.SPACE: ("SpaceLimitExceeded",),
    Refusal.NO_FEE: ("Payment",),
    Refusal.OUTDATED: ("IncorrectCommitRevealVersion", "CommitPayloadTooLarge"),
}
_BY_NAME = {name: refusal for refusal, names in _NAMES.items() for name in names}

LOST_NAMES = frozenset({"AlreadyImported", "Dropped", "Usurped", "Invalid", "Retracted", "FinalityTimeout"})
"""Ends of watching an extrinsic that leave open whether it is on chain: one that a block dropped may be in
the next, and one that is in the pool already is our own."""

_POOL_FULL = "couldn't enter the pool because of the limit"
"""What a node says when its pool is full (JSON-RPC 1016, Immediately Dropped); the SDK has no name for it."""


def refusal_of(code: str) -> Refusal:
    """What to do about an error, by its name."""
    return _BY_NAME.get(code, Refusal.OTHER)


def code_of(error: SdkChainError) -> str:
    """The name of an error that the SDK reported, or the SDK's category where it has no name."""
    if error.name:
        return str(error.name)
    return "PoolFull" if _POOL_FULL in error.message else str(error.code.value)
