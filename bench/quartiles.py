"""How ratios that were taken side by side, round by round, are shown."""

import statistics
from collections.abc import Sequence


def spread(ratios: Sequence[float]) -> str:
    """Median and quartiles: rounds whose quartiles lie far apart were disturbed by something else."""
    low, middle, high = statistics.quantiles(ratios, n=4)
    return f"{middle:.3f} ({low:.3f} to {high:.3f})"
