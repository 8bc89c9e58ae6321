"""Scores to chain weights: u16 by uid, such that the chain's own rounding changes nothing.

The SDK's `SetWeights` divides by the largest weight, multiplies by 65,535 and rounds. With the largest
weight at 65,535 that gives back every u16 as it went in, so what is published is what arrives, unless the
subnet limits the share of a single miner (`max_weight_limit`), in which case the SDK clips before it
rounds.
"""

from collections.abc import Sequence

from validator.scoring import MinerScore

U16_MAX = 65535


def weights_from_scores(scores: Sequence[MinerScore]) -> dict[int, int]:
    """u16 by uid, zeros left out: the best score becomes 65,535, the others keep their ratio to it.

    A score above zero never becomes zero. Empty when nobody earned anything: then no weights are set.
    """
    earning = {one.uid: one.score for one in scores if one.uid is not None and one.score > 0}
    top = max(earning.values(), default=0.0)
    return {uid: max(1, round(earning[uid] / top * U16_MAX)) for uid in sorted(earning)}
