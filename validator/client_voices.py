"""How much one client has to say about a miner: a share of all that is said, however often it asked.

Otherwise a miner could send itself requests through the public API, whose answers it has ready, and decide
how fast it looks; or send a rival what makes it fail. So the answers of one client to one miner make one
voice, the median of them, with a weight of

    min(its answers, m),   m the largest whole number with m ≤ share × Σ min(answers of a client, m), or 1

With few clients m is 1: each has one voice. With many, who asks much counts for more, up to the share. And
who asks most can make a miner look slower, not faster: a flood of requests buys nothing, and serving one's
largest client last costs what any client's voice is worth. Answers of older logs, which name no client,
count each for itself.
"""

import math
from bisect import bisect_right
from collections.abc import Hashable, Iterable, Sequence
from typing import NamedTuple, TypeVar

Item = TypeVar("Item")


class Voice(NamedTuple):
    """What one client says of a miner, and how much that counts."""

    value: float
    weight: int


def middle(values: Iterable[float]) -> float:
    """The median of at least one value: the mean of the two middle ones of an even number."""
    ordered = sorted(values)
    half = len(ordered) // 2
    return ordered[half] if len(ordered) % 2 else (ordered[half - 1] + ordered[half]) / 2


def weighted_middle(voices: Iterable[Voice]) -> float:
    """The median of at least one voice: that of each value taken as often as it weighs."""
    ordered = sorted(voices)
    total = sum(voice.weight for voice in ordered)
    lower, upper = _at(ordered, (total - 1) // 2), _at(ordered, total // 2)
    return upper if total % 2 else (lower + upper) / 2


def _at(ordered: Sequence[Voice], place: int) -> float:
    passed = 0
    for voice in ordered:
        passed += voice.weight
        if passed > place:
            return voice.value
    raise IndexError(place)


def most_weight(counts: Sequence[int], share: float) -> int:
    """m of the module's formula, for clients with so many answers each."""

    def part(most: int) -> float:
        return most / sum(min(count, most) for count in counts)

    return max(1, bisect_right(range(1, max(counts, default=0) + 1), share, key=part))


def by_client(items: Iterable[tuple[str | None, Item]]) -> list[list[Item]]:
    """What belongs together, client by client; what names no client stands alone."""
    groups: dict[Hashable, list[Item]] = {}
    for place, (client, item) in enumerate(items):
        name = place if client is None else client
        if name in groups:
            groups[name].append(item)
        else:
            groups[name] = [item]
    return list(groups.values())


def voices_of(groups: Iterable[Sequence[float]], share: float) -> list[Voice]:
    """The voice of each client, given its values."""
    said = list(groups)
    most = most_weight([len(values) for values in said], share)
    return [Voice(middle(values), min(len(values), most)) for values in said]


def cautious_middle(said: Sequence[tuple[int, float]], most: int) -> float:
    """The weighted median of what clients say, or that without the client of most answers if it is lower.

    Args:
        said: of each client its number of answers, and its value. Of several with the most answers the one
            that flatters most is left out.
        most: m of the module's formula.
    """
    everybody = weighted_middle(Voice(value, min(count, most)) for count, value in said)
    if len(said) < 2:
        return everybody
    others = sorted(said)[:-1]
    return min(everybody, weighted_middle(Voice(value, min(count, most)) for count, value in others))


def counted(groups: Sequence[Sequence[bool]], share: float) -> float:
    """How many of a miner's requests are flagged, if no client's weigh more than its share.

    Args:
        groups: each client's requests, flagged or not.
    """
    counts = [len(group) for group in groups]
    if not counts:
        return 0.0
    most = most_weight(counts, share)
    weights = [min(count, most) for count in counts]
    # fsum rounds once, whatever the order; the built-in sum rounds differently from Python 3.12 on.
    flagged = math.fsum(
        weight * sum(group) / len(group) for weight, group in zip(weights, groups, strict=True)
    )
    return flagged * (sum(counts) / sum(weights))
