"""Why a client is not served: its key, or its limits. Errors have OpenAI's names, and quote no key."""

import math

from gateway.errors import ApiError, unauthorized


def key_required() -> ApiError:
    """401: this gateway serves nobody without a key."""
    return _unauthorized(
        "This gateway serves no requests without an API key; send yours as Authorization: Bearer cst_…, or "
        "ask the gateway's operator for one",
        "missing_api_key",
    )


def invalid_key(reason: str) -> ApiError:
    """401: `reason` says what is wrong with the key, without quoting it."""
    return _unauthorized(f"{reason}; check it, or ask the gateway's operator for another", "invalid_api_key")


def wrong_authorization() -> ApiError:
    """401: the header is there, but holds no key."""
    return _unauthorized(
        "The Authorization header holds no API key; write Authorization: Bearer cst_…", "invalid_api_key"
    )


def _unauthorized(message: str, code: str) -> ApiError:
    return unauthorized(message, code, {"www-authenticate": "Bearer"})


def rate_limited(what: str, limit: int, wait_s: float) -> ApiError:
    """429: too many requests, or tokens, a minute; `what` is which."""
    return ApiError(
        429,
        f"The limit of {limit} {what} a minute is reached; try again in {_whole_seconds(wait_s)} s.",
        kind=what,
        code="rate_limit_exceeded",
        headers={"retry-after": str(_whole_seconds(wait_s))},
    )


def quota_exceeded(limit: int, left: int, wait_s: float) -> ApiError:
    """429: the day's tokens are used up, or fewer are left than the request may take."""
    message = (
        f"Of the key's {limit} tokens a day {left} are left, and this request could take more: lower its "
        "max_tokens, or wait"
        if left
        else f"The key's {limit} tokens a day are used up; wait"
    )
    return ApiError(
        429,
        f"{message} until midnight UTC, {_whole_seconds(wait_s)} s from now.",
        kind="insufficient_quota",
        code="insufficient_quota",
        headers={"retry-after": str(_whole_seconds(wait_s))},
    )


def _whole_seconds(wait_s: float) -> int:
    return max(1, math.ceil(wait_s))
