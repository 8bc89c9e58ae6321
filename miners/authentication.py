"""Who is calling: `btauth/1` signatures by admitted hotkeys, checked before anything else happens."""

from bittensor import http_auth
from starlette.types import ASGIApp, Receive, Scope, Send

from miners.admission import Admission
from miners.errors import RequestRefused
from miners.http_messages import BodyReader, request_headers, request_target, send_refusal, with_body
from shared.errors import SignatureMismatch
from shared.peer_auth import RequestVerifier

_HOTKEY = http_auth.HEADER_HOTKEY.lower()
_REQUIRED = [
    name.lower()
    for name in (
        http_auth.HEADER_VERSION,
        http_auth.HEADER_HOTKEY,
        http_auth.HEADER_NONCE,
        http_auth.HEADER_SIGNATURE,
    )
]


class Authentication:
    """ASGI middleware: only authenticated requests reach the application, their bodies already read.

    What the headers alone disprove is refused before a byte of the body is read.
    """

    def __init__(
        self, app: ASGIApp, verifier: RequestVerifier, admission: Admission, bodies: BodyReader
    ) -> None:
        self._app, self._verifier, self._admission, self._bodies = app, verifier, admission, bodies

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            body = await self._authenticated_body(scope, receive)
        except RequestRefused as refusal:
            await send_refusal(send, refusal)
            return
        await self._app(scope, with_body(body, receive), send)

    async def _authenticated_body(self, scope: Scope, receive: Receive) -> bytes:
        headers = request_headers(scope)
        self._check_headers(headers)
        body = await self._bodies.read(scope, receive)
        try:
            self._verifier.sender(headers, scope["method"], request_target(scope), body)
        except SignatureMismatch as mismatch:
            raise RequestRefused(401, str(mismatch), "bad_signature") from None
        return body

    def _check_headers(self, headers: dict[str, str]) -> None:
        missing = [name for name in _REQUIRED if name not in headers]
        if missing:
            message = f"the request is not signed: {missing[0]} is missing; miners serve signed requests only"
            raise RequestRefused(401, message, "unsigned", unread=True)
        hotkey = headers[_HOTKEY]
        if not self._admission.admits(hotkey):
            message = f"{hotkey[:64]} has no validator permit on this subnet and is not on this miner's list"
            raise RequestRefused(403, message, "no_permit", unread=True)
