"""What the chain shows of weights that were sent: them, a commit to them, or something else."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from shared.chain import Chain

_SHOWN_DIFFERENCES = 3


class WeightChain(Chain, Protocol):
    """The chain, and what it does with weights."""

    async def weights_rate_limit(self) -> int:
        """Blocks that must lie between two settings of weights by one hotkey."""
        ...

    async def fitted_row(self, weights: Mapping[int, int]) -> dict[int, int]:
        """The row that the chain keeps of these weights, the subnet's limit of a share applied."""
        ...

    async def commits_weights(self) -> bool:
        """Whether the subnet takes commitments to weights, which it reveals later, instead of weights."""
        ...

    async def weight_commits(self) -> dict[str, int]:
        """The block of each hotkey's newest commitment to weights that is not revealed yet."""
        ...


@dataclass(frozen=True)
class Row:
    """The weights are on chain."""


@dataclass(frozen=True)
class Commit:
    """A commitment is on chain since `block`; the weights follow when the chain reveals them."""

    block: int


@dataclass(frozen=True)
class Different:
    """Neither; `words` says what is there instead."""

    words: str


Seen = Row | Commit | Different


async def look(
    chain: WeightChain, weights: Mapping[int, int], uid: int, hotkey: str, after_block: int
) -> Seen:
    """What the chain shows of weights that `hotkey`, which holds `uid`, sent after a block.

    Raises:
        ChainUnavailable: the chain can't be read.
    """
    commits = await chain.weight_commits() if await chain.commits_weights() else {}
    if commits.get(hotkey, 0) > after_block:
        return Commit(commits[hotkey])
    # The row after the commits: a reveal takes one away and writes the other in the same block.
    expected, row = await chain.fitted_row(weights), (await chain.weights()).get(uid, {})
    return Row() if row == expected else Different(difference(expected, row))


def difference(expected: Mapping[int, int], row: Mapping[int, int]) -> str:
    """In words, the first uids whose weights differ."""
    if not row:
        return "the chain shows no weights"
    uids = [uid for uid in sorted({*expected, *row}) if expected.get(uid, 0) != row.get(uid, 0)]
    shown = ", ".join(
        f"{row.get(uid, 0)} instead of {expected.get(uid, 0)} for uid {uid}"
        for uid in uids[:_SHOWN_DIFFERENCES]
    )
    more = len(uids) - _SHOWN_DIFFERENCES
    return f"the chain shows {shown}" + (f" and {more} more" if more > 0 else "")
