"""Which sequences the reference computes together, and which share the pass over a common beginning. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass

from shared.prefix_cache import TokenIds, common_length


@dataclass(frozen=True)
class PassCosts:
    """What decides how a device's work is cut into passes.

    Attributes:
        overhead_tokens: what one more pass costs, as a number of tokens computed.
        budget_tokens: tokens of one pass, padding included; a longer sequence has a pass of its own.
    """

    overhead_tokens: int
    budget_tokens: int


@dataclass(frozen=True)
class Family:
    """Sequences that begin with the same `stem` tokens; a stem of 0 tokens says that nothing is shared."""

    members: tuple[int, ...]
    stem: int

    @property
    def saved_tokens(self) -> int:
        return (len(self.members) - 1) * self.stem


def find_families(sequences: Sequence[TokenIds], costs: PassCosts) -> list[Family]:
    """Group sequences so that the passes over common beginnings save more than they cost.

    Every sequence keeps at least its last token outside the stem. Families and their members are in the order
    of the token ids, not of `sequences`.
    """
    families: list[Family] = []
    for index in sorted(range(len(sequences)), key=lambda index: sequences[index].tolist()):
        joined = _joined(families[-1], index, sequences) if families else None
        if joined is not None and joined.saved_tokens > costs.overhead_tokens + families[-1].saved_tokens:
            families[-1] = joined
        else:
            families.append(Family((index,), 0))
    return families


def _joined(family: Family, index: int, sequences: Sequence[TokenIds]) -> Family:
    """The family with one more member; neighbours in order have the longest beginning in common."""
    last = family.members[-1]
    alike = common_length(sequences[last], sequences[index])
    alike = min(alike, len(sequences[last]) - 1, len(sequences[index]) - 1)
    stem = alike if len(family.members) == 1 else min(family.stem, alike)
    return Family((*family.members, index), stem)


def split_by_length(lengths: Sequence[int], costs: PassCosts) -> list[list[int]]:
    """Cut sequences into batches of like length.

    Returns:
        indices into `lengths`. No batch but a single sequence exceeds the budget when padded to its longest,
        and no sequence is padded by more than a pass of its own would cost.
    """
    batches: list[list[int]] = []
    for index in sorted(range(len(lengths)), key=lambda index: (-lengths[index], index)):
        longest = lengths[batches[-1][0]] if batches else 0
        fits = longest * (len(batches[-1]) + 1) <= costs.budget_tokens if batches else False
        if fits and longest - lengths[index] <= costs.overhead_tokens:
            batches[-1].append(index)
        else:
            batches.append([index])
    return batches
