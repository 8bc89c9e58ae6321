"""A small web server whose answers a test decides, and one that serves a folder as a public bucket does."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

Respond = Callable[[BaseHTTPRequestHandler], None]
"""Answers one request."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: Any) -> None:
        pass

    def _respond(self) -> None:
        self.server.respond(self)  # type: ignore[attr-defined]

    do_GET = do_HEAD = do_PUT = do_DELETE = do_POST = _respond  # noqa: N815


@contextmanager
def serving(respond: Respond) -> Iterator[str]:
    """The URL of a server that answers each request with `respond`."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
    server.respond = respond  # type: ignore[attr-defined]
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def answer(request: BaseHTTPRequestHandler, status: int, body: bytes = b"", **headers: str) -> None:
    """Send an answer; that to HEAD has no body, but its length. `_` in names of headers stands for `-`.

    What the client sends with its request is read and dropped.
    """
    request.rfile.read(int(request.headers.get("Content-Length", 0)))
    request.send_response(status)
    given = {name.replace("_", "-"): value for name, value in headers.items()}
    for name, value in {"Content-Length": str(len(body)), **given}.items():
        request.send_header(name, value)
    request.end_headers()
    if request.command != "HEAD":
        request.wfile.write(body)


def public_folder(folder: Path) -> Respond:
    """Serves a folder's files, whole and by range."""

    def respond(request: BaseHTTPRequestHandler) -> None:
        file = folder / request.path.lstrip("/")
        if not file.is_file():
            answer(request, 404)
            return
        data, wanted = file.read_bytes(), request.headers.get("Range")
        if wanted is None:
            answer(request, 200, data)
            return
        first, last = (int(part) for part in wanted.removeprefix("bytes=").split("-"))
        part = data[first : last + 1]
        if not part:
            answer(request, 416, Content_Range=f"bytes */{len(data)}")
        else:
            told = f"bytes {first}-{first + len(part) - 1}/{len(data)}"
            answer(request, 206, part, Content_Range=told)

    return respond
