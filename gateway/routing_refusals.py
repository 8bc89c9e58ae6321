"""Why no miner serves a request, in OpenAI's words."""

import math
from collections.abc import Mapping

from gateway.breaker import LONGEST_COOLDOWN_S
from gateway.errors import RETRY_AFTER_S, ApiError, unavailable


def no_miner_matches(excluded: Mapping[str, int]) -> ApiError:
    """503: miners could be called, but none that the request's hints leave.

    Args:
        excluded: sentences with a place for a number of miners, and that number.
    """
    total = sum(excluded.values())
    reasons = "; ".join(sentence.format(count) for sentence, count in sorted(excluded.items()))
    return unavailable(
        f"None of the {total} miners that can be called meets the request's provider hints: {reasons}. "
        "Loosen them, or try again later.",
        "no_miner_matches",
        param="provider",
    )


def miners_overloaded(wait_s: float) -> ApiError:
    """503: every miner that was asked said that it is overloaded; the first has room in `wait_s`, it says."""
    wait = min(max(RETRY_AFTER_S, math.ceil(wait_s)), math.ceil(LONGEST_COOLDOWN_S))
    return unavailable(
        f"The miners are overloaded. Try again in {wait} s.",
        "overloaded",
        wait_s=wait,
    )


def miners_busy(waiting: int, wait_s: float) -> ApiError:
    """503: every miner that could serve the request is busy, and too many requests wait already, or too long.

    Args:
        waiting: requests in line, this one not counted; `wait_s` for how long each may be.
    """
    return unavailable(
        f"All miners that could serve this request are busy, and {waiting} requests wait for one "
        f"(for {wait_s:g} s at most). Try again in {RETRY_AFTER_S} s.",
        "overloaded",
    )
