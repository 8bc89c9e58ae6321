"""Why somebody who signs in with a hotkey gets no key."""

from gateway.errors import ApiError, unauthorized, unavailable


def sign_in_off() -> ApiError:
    """404: the operator has not switched it on."""
    return ApiError(
        404,
        "This gateway gives no keys for wallets: its operator can with --wallet-sign-in, or make a key with "
        "python -m gateway.keys create.",
        code="wallet_sign_in_off",
    )


def challenge_refused(reason: str) -> ApiError:
    """401: the signed text is not a challenge for this hotkey by this gateway."""
    return unauthorized(
        f"The message is no challenge that can be used here: {reason}; sign the message of POST "
        "/v1/keys/challenge as it is",
        "invalid_challenge",
    )


def challenge_expired() -> ApiError:
    """401."""
    return unauthorized("The challenge has expired; ask for another", "challenge_expired")


def challenge_used() -> ApiError:
    """401: a challenge gives one key."""
    return unauthorized("The challenge was used before; ask for another", "challenge_used")


def wrong_signature(hotkey: str) -> ApiError:
    """401."""
    return unauthorized(
        f"The signature is not by {hotkey} over the message's bytes; sign them with that hotkey",
        "invalid_signature",
    )


def not_registered(hotkey: str) -> ApiError:
    """403: the hotkey is right, but not on the subnet."""
    return ApiError(
        403,
        f"The hotkey {hotkey} is not registered on this gateway's subnet; sign in with one that is. A new "
        "registration is seen within a minute.",
        kind="permission_error",
        code="hotkey_not_registered",
        param="hotkey",
    )


def sign_in_unavailable(reason: str) -> ApiError:
    """503: nobody can sign in now; keys that exist work."""
    return unavailable(
        f"The gateway can't give keys at the moment: {reason}; try again shortly.",
        "sign_in_unavailable",
    )
