"""The HTTP server: uvicorn, with bounds on what a stranger's connection may cost."""

import asyncio
import socket
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, ClassVar
from urllib.parse import unquote

import httptools
import uvicorn
from starlette.types import ASGIApp
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from gateway.errors import ApiError, invalid_request
from gateway.request_cycle import RequestCycle
from shared.errors import ConfigError

BACKLOG = 2048

SEND_BUFFER_BYTES = 1 << 20
"""Bytes of an answer that wait in memory for a slow client before reading from the miner pauses: 2,000 tokens
at 300 bytes an event and more, so that a slow client does not make its miner look slow."""


@dataclass(frozen=True)
class ConnectionLimits:
    """What one connection, and all together, may take.

    Attributes:
        request_s: seconds for the headers and body of one request to arrive.
        idle_s: seconds for which a connection is kept between requests.
        stalled_s: seconds for which a client may leave its answer unread.
        header_bytes: largest head of a request.
        connections: most connections at once.
    """

    request_s: float = 30.0
    idle_s: int = 10
    stalled_s: float = 60.0
    header_bytes: int = 32 << 10
    connections: int = 4096


Refused = Callable[[int, str | None], None]
"""Told of the status and code of what is refused before any application sees it."""


class BoundedProtocol(HttpToolsProtocol):
    """uvicorn's HTTP protocol; it ends connections that are too many, too slow, or have too large a head."""

    cycle: RequestCycle
    limits: ClassVar[ConnectionLimits] = ConnectionLimits()
    observers: ClassVar[Sequence[Refused]] = ()

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._request_deadline: asyncio.TimerHandle | None = None
        self._stall_deadline: asyncio.TimerHandle | None = None
        self._in_head, self._head_bytes = False, 0
        transport.set_write_buffer_limits(high=SEND_BUFFER_BYTES)
        _give_up_unread_data(transport, self.limits.stalled_s)
        if len(self.connections) > self.limits.connections:
            self._refuse(_overloaded())
        else:
            self._expect_request()

    def connection_lost(self, exc: Exception | None) -> None:
        self._disarm_request()
        self.resume_writing()
        super().connection_lost(exc)
        if self.cycle is not None and self.cycle.disconnected:
            self.cycle.left()

    def data_received(self, data: bytes) -> None:
        if self.transport.is_closing():
            return
        if self._request_deadline is None and (self.cycle is None or self.cycle.response_complete):
            self._expect_request()
        super().data_received(data)
        if self._in_head:
            self._head_bytes += len(data)
            if self._head_bytes > self.limits.header_bytes:
                self._refuse(_head_too_large(self.limits.header_bytes))

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._in_head, self._head_bytes = True, 0
        self._expect_request()

    def on_headers_complete(self) -> None:
        """Start the request, or queue it behind the one that the connection is serving."""
        self._in_head = False
        version, url = self.parser.get_http_version(), httptools.parse_url(self.url)
        path = url.path.decode("ascii")
        self.scope["method"], self.scope["http_version"] = self.parser.get_method().decode("ascii"), version
        self.scope["path"] = unquote(path) if "%" in path else path
        self.scope["raw_path"], self.scope["query_string"] = url.path, url.query or b""
        running, self.cycle = (
            self.cycle,
            self._new_cycle(version != "1.0" and self.parser.should_keep_alive()),
        )
        if running is None or running.response_complete:
            self._start_asgi_task(self.cycle, self.app)
        else:
            self.flow.pause_reading()
            self.pipeline.appendleft((self.cycle, self.app))

    def _new_cycle(self, keep_alive: bool) -> RequestCycle:
        return RequestCycle(
            scope=self.scope,
            transport=self.transport,
            flow=self.flow,
            logger=self.logger,
            access_logger=self.access_logger,
            access_log=False,
            default_headers=self.server_state.default_headers,
            message_event=asyncio.Event(),
            expect_100_continue=self.expect_100_continue,
            keep_alive=keep_alive,
            on_response=self.on_response_complete,
        )

    def on_message_complete(self) -> None:
        self._disarm_request()
        super().on_message_complete()

    def pause_writing(self) -> None:
        super().pause_writing()
        self._stall_deadline = self.loop.call_later(self.limits.stalled_s, self.transport.abort)

    def resume_writing(self) -> None:
        if self._stall_deadline is not None:
            self._stall_deadline.cancel()
            self._stall_deadline = None
        super().resume_writing()

    def send_400_response(self, msg: str) -> None:
        self._refuse(invalid_request(msg, code="invalid_http"))

    def _expect_request(self) -> None:
        self._disarm_request()
        self._request_deadline = self.loop.call_later(self.limits.request_s, self._too_slow)

    def _disarm_request(self) -> None:
        if self._request_deadline is not None:
            self._request_deadline.cancel()
            self._request_deadline = None

    def _too_slow(self) -> None:
        self._request_deadline = None
        if self._in_head or (self.cycle is not None and not self.cycle.response_started):
            self._refuse(_too_slow(self.limits.request_s))
        else:
            self.transport.close()

    def _refuse(self, error: ApiError) -> None:
        """Answer with an error outside of any application, and close."""
        self._disarm_request()
        for refused in self.observers:
            refused(error.status, error.code)
        body = error.body()
        head = f"content-type: application/json\r\ncontent-length: {len(body)}\r\nconnection: close\r\n\r\n"
        self.transport.write(STATUS_LINE[error.status] + head.encode() + body)
        self.transport.close()


def _give_up_unread_data(transport: asyncio.Transport, after_s: float) -> None:
    """Let the kernel end a connection whose peer takes nothing (Linux), even one that is being closed."""
    option: int | None = getattr(socket, "TCP_USER_TIMEOUT", None)
    connection: Any = transport.get_extra_info("socket")
    if option is not None and connection is not None:
        connection.setsockopt(socket.IPPROTO_TCP, option, int(after_s * 1000))


def _overloaded() -> ApiError:
    return ApiError(503, "The gateway has too many connections.", kind="server_error", code="overloaded")


def _head_too_large(limit: int) -> ApiError:
    return ApiError(431, f"The request's head is larger than {limit} bytes.", code="headers_too_large")


def _too_slow(seconds: float) -> ApiError:
    return ApiError(408, f"The request did not arrive within {seconds:g} s.", code="request_timeout")


class GatewayServer(uvicorn.Server):
    """A uvicorn server that leaves signals to its caller, and ends only when its requests have ended."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        await super().shutdown(sockets)
        if self.force_exit:
            for task in self.server_state.tasks:
                task.cancel()
        await asyncio.gather(*self.server_state.tasks, return_exceptions=True)

    def finish(self) -> None:
        """Accept no more connections, and end when running answers have ended."""
        self.should_exit = True

    def cut(self) -> None:
        """End now: running answers get an error, in whatever form they have begun."""
        self.should_exit = self.force_exit = True


def build_server(
    app: ASGIApp,
    limits: ConnectionLimits,
    shutdown_seconds: int,
    trusted_proxies: Sequence[str] = (),
    observers: Sequence[Refused] = (),
) -> GatewayServer:
    """A server of `app` that has not begun to listen; run it with `serve(sockets=[…])`."""
    protocol = type("LimitedProtocol", (BoundedProtocol,), {"limits": limits, "observers": observers})
    return GatewayServer(
        uvicorn.Config(
            app,
            http=protocol,
            ws="none",
            lifespan="off",
            log_config=None,
            access_log=False,
            server_header=False,
            proxy_headers=bool(trusted_proxies),
            forwarded_allow_ips=list(trusted_proxies),
            backlog=BACKLOG,
            timeout_keep_alive=limits.idle_s,
            timeout_graceful_shutdown=shutdown_seconds,
        )
    )


def listen(host: str, port: int, shared: bool = False) -> socket.socket:
    """A listening socket.

    Args:
        shared: whether other processes may listen there too, so that the kernel spreads connections.

    Raises:
        ConfigError: the address can't be had, for a reason that the message names.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family, backlog=BACKLOG, reuse_port=shared)
    except OSError as error:
        raise ConfigError(
            f"can't listen on port {port} of {host}: {error.strerror or error}; "
            "stop what uses it, or choose another with --port and --host"
        ) from None
