"""A connection for ASGI applications in tests: what is received, what was sent."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from shared.peer_auth import sign_request
from shared.signing import Signer


def http_scope(method: str, path: str, headers: Mapping[str, str] | None = None, query: bytes = b"") -> Scope:
    return {
        "type": "http",
        "method": method,
        "path": path,
        "raw_path": path.encode(),
        "query_string": query,
        "headers": [(k.lower().encode(), v.encode()) for k, v in (headers or {}).items()],
    }


@dataclass
class Connection:
    """Gives `pieces` as the request's body, and collects the answer."""

    pieces: Sequence[bytes] = (b"",)
    sent: list[Message] = field(default_factory=list)
    read: int = 0

    async def receive(self) -> Message:
        if self.read == len(self.pieces):
            return {"type": "http.disconnect"}
        self.read += 1
        more = self.read < len(self.pieces)
        return {"type": "http.request", "body": self.pieces[self.read - 1], "more_body": more}

    async def send(self, message: Message) -> None:
        self.sent.append(message)

    @property
    def status(self) -> int:
        return int(self.sent[0]["status"])

    @property
    def headers(self) -> dict[bytes, bytes]:
        return dict(self.sent[0]["headers"])

    @property
    def body(self) -> bytes:
        return b"".join(message.get("body", b"") for message in self.sent[1:])


async def call(app: ASGIApp, scope: Scope, *pieces: bytes) -> Connection:
    """One request to `app`, its body in these pieces."""
    connection = Connection(pieces or (b"",))
    await app(scope, connection.receive, connection.send)
    return connection


def signed_scope(signer: Signer, receiver: str, method: str, path: str, body: bytes = b"") -> Scope:
    return http_scope(method, path, sign_request(signer, method, path, body, receiver))


class Recorder:
    """An application that remembers what reached it and answers 200 with the body."""

    def __init__(self) -> None:
        self.bodies: list[bytes] = []
        self.paths: list[str] = []

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        body = (await receive())["body"]
        self.bodies.append(body)
        self.paths.append(scope["path"])
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": body})


class Answering:
    """An application that answers with given bytes, cut into given chunks."""

    def __init__(self, content_type: str, chunks: Iterable[bytes], status: int = 200) -> None:
        self.content_type, self.chunks, self.status = content_type, list(chunks), status
        self.seen: list[tuple[Any, bytes]] = []

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.seen.append((dict(scope["headers"]), (await receive())["body"]))
        headers = [(b"content-type", self.content_type.encode()), (b"x-own", b"kept")]
        await send({"type": "http.response.start", "status": self.status, "headers": headers})
        for chunk in self.chunks:
            await send({"type": "http.response.body", "body": chunk, "more_body": True})
        await send({"type": "http.response.body", "body": b"", "more_body": False})
