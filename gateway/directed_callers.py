"""Who may say which miner serves a request: callers that the gateway trusts, and nobody else."""

from collections.abc import Iterable

from starlette.types import Scope

from gateway.errors import may_not_choose_miner
from shared.directed_requests import MINER_HEADER, directed_sender
from shared.errors import ConstantinopleError
from shared.peer_auth import RequestVerifier

_MINER_HEADER = MINER_HEADER.encode()


class DirectedCallers:
    """The gateway's own hotkey, and those that its operator lists."""

    def __init__(self, own_hotkey: str, trusted: Iterable[str]) -> None:
        self._trusted = frozenset({own_hotkey, *trusted})
        self._verifier = RequestVerifier(own_hotkey)

    def names_miner(self, scope: Scope) -> bool:
        """Whether the request names the miner that must serve it."""
        return any(name == _MINER_HEADER for name, _ in scope["headers"])

    def miner_named(self, scope: Scope, body: bytes) -> str:
        """The hotkey of the miner that must serve the request.

        Raises:
            ApiError: 403; the caller is not one that may say so.
        """
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
        try:
            sender, miner_hotkey = directed_sender(self._verifier, headers, scope["path"], body)
        except ConstantinopleError as error:
            raise may_not_choose_miner(str(error)) from None
        if sender not in self._trusted:
            raise may_not_choose_miner(f"this gateway does not trust {sender}")
        return miner_hotkey
