"""Weights as a subnet takes them: no miner's share above the subnet's limit."""

from collections.abc import Mapping, Sequence

from bittensor.intents.weights import clip_to_max_weight, normalize
from bittensor.settings import U16_MAX

_ROUNDING_STEPS = 8
"""The SDK clips to exactly the limit, and then rounds, which may go above it again: a limit lower by a few
65,535ths leaves room for that."""


def fitted_row(weights: Mapping[int, int], max_weight_limit: int) -> dict[int, int]:
    """The row to send, and the one that the chain keeps: the largest weight 65,535, zeros left out.

    The SDK leaves such a row as it is. Where so few weights can't keep the limit they are all alike, and the
    chain says so.

    Args:
        max_weight_limit: largest share of one weight, in 65,535ths.
    """
    uids = sorted(weights)
    shares = [float(weights[uid]) for uid in uids]
    rows = (_clipped(uids, shares, max_weight_limit - step) for step in range(_ROUNDING_STEPS))
    return next(
        (row for row in rows if _keeps(row, max_weight_limit)), _clipped(uids, shares, max_weight_limit)
    )


def _clipped(uids: Sequence[int], shares: Sequence[float], limit: int) -> dict[int, int]:
    if limit < U16_MAX:
        shares = clip_to_max_weight(shares, limit / U16_MAX)
    return dict(zip(*normalize(uids, shares), strict=True))


def _keeps(row: Mapping[int, int], limit: int) -> bool:
    return limit == int(U16_MAX) or max(row.values(), default=0) * int(U16_MAX) <= limit * sum(row.values())
