"""Requests to the gateway that name the one miner that must serve them.

Only callers that the gateway trusts may send one: an auditor whose own requests have to reach a miner that
few clients reach. The request is an ordinary one with two things more: a header that names the miner, and
the headers of `btauth/1`, whose signature covers the name. None of them is passed on to the miner.
"""

from collections.abc import Mapping

from shared.errors import MalformedMessage
from shared.peer_auth import RequestVerifier, sign_request
from shared.signing import Signer

MINER_HEADER = "x-miner-hotkey"
"""Names the miner's hotkey; the gateway's answers carry a header of the same name."""


def _signed_target(path: str, miner_hotkey: str) -> str:
    """What is signed as the path, so that no signature serves for another miner or an ordinary request."""
    return f"{path}?{MINER_HEADER}={miner_hotkey}"


def direct_request(
    signer: Signer, path: str, body: bytes, gateway_hotkey: str, miner_hotkey: str
) -> dict[str, str]:
    """Headers for one POST of `body` to `path`; each retry needs fresh ones."""
    target = _signed_target(path, miner_hotkey)
    return sign_request(signer, "POST", target, body, gateway_hotkey) | {MINER_HEADER: miner_hotkey}


def directed_sender(
    verifier: RequestVerifier, headers: Mapping[str, str], path: str, body: bytes
) -> tuple[str, str]:
    """(sender's hotkey, named miner's hotkey); the names of `headers` are in lower case.

    Raises:
        MalformedMessage: no miner is named.
        SignatureMismatch: unsigned, stale, replayed, for another gateway, or a bad signature.
    """
    miner_hotkey = headers.get(MINER_HEADER)
    if not miner_hotkey:
        raise MalformedMessage(f"the request has no {MINER_HEADER} header")
    sender = verifier.sender(headers, "POST", _signed_target(path, miner_hotkey), body)
    return sender, miner_hotkey
