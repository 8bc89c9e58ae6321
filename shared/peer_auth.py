"""Signed requests between processes: the `btauth/1` protocol of the Bittensor SDK.

A request proves "sent by hotkey X, to hotkey Y, with exactly this body, recently, once".
"""

import time
from collections.abc import Mapping

from bittensor import http_auth

from shared.errors import SignatureMismatch
from shared.signing import Signer

_SCHEME = "sr25519"
"""Of every hotkey; the protocol's default, so that it is not named in a header."""

FRESHNESS_S = 10.0
"""Oldest request accepted; the SDK's default, wide enough for a retried connection."""


def sign_request(signer: Signer, method: str, path: str, body: bytes, receiver: str) -> dict[str, str]:
    """Headers that authenticate one request; each retry needs fresh ones.

    What `http_auth.sign` gives for a hotkey, without its search for the kind of signer, which takes a quarter
    of its time.

    `path` is the request target exactly as it is sent, query included.
    """
    nonce_ns, sender = time.time_ns(), signer.ss58_address
    payload = http_auth.build_payload(
        scheme=_SCHEME,
        method=method,
        path=path,
        body=body,
        nonce_ns=nonce_ns,
        sender_ss58=sender,
        receiver_ss58=receiver,
    )
    return {
        http_auth.HEADER_VERSION: http_auth.VERSION,
        http_auth.HEADER_HOTKEY: sender,
        http_auth.HEADER_NONCE: str(nonce_ns),
        http_auth.HEADER_SIGNATURE: "0x" + bytes(signer.sign(payload)).hex(),
        http_auth.HEADER_RECEIVER: receiver,
    }


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
