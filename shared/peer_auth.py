"""Signed requests between processes: the `btauth/1` protocol of the Bittensor SDK.

A request proves "sent by hotkey X, to hotkey Y, with exactly this body, recently, once".
"""

from collections.abc import Mapping

from bittensor import http_auth

from shared.errors import SignatureMismatch
from shared.signing import Signer

FRESHNESS_S = 10.0
"""Oldest request accepted; the SDK's default, wide enough for a retried connection."""


def sign_request(signer: Signer, method: str, path: str, body: bytes, receiver: str) -> dict[str, str]:
    """Headers that authenticate one request; each retry needs fresh ones.

    `path` is the request target exactly as it is sent, query included.
    """
    headers: dict[str, str] = http_auth.sign(
        signer, method=method, path=path, body=body, receiver_ss58=receiver
    )
    return headers


class RequestVerifier:
    """Checks requests addressed to one hotkey, and remembers nonces so that none is accepted twice."""

    def __init__(self, hotkey: str) -> None:
        self._hotkey = hotkey
        self._nonces = http_auth.InMemoryNonceStore()

    def sender(self, headers: Mapping[str, str], method: str, path: str, body: bytes) -> str:
        """The hotkey that signed the request.

        Raises:
            SignatureMismatch: unsigned, stale, replayed, for another receiver, or a bad signature.
        """
        try:
            caller = http_auth.verify(
                headers,
                body,
                method=method,
                path=path,
                self_hotkey_ss58=self._hotkey,
                max_age=FRESHNESS_S,
                nonce_store=self._nonces,
            )
        except http_auth.AuthError as error:
            raise SignatureMismatch(f"the request is not authenticated: {error}") from None
        return str(caller.hotkey_ss58)
