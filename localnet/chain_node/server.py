"""The websocket server: bounded connections, messages and queues, and one slow reader harms nobody else."""

import asyncio
import ipaddress
import logging
from collections.abc import Mapping
from contextlib import suppress
from http import HTTPStatus
from typing import Any

from websockets.asyncio.server import Server, ServerConnection, serve
from websockets.exceptions import ConnectionClosed
from websockets.http11 import Request, Response

from localnet.chain_node.jsonrpc import INTERNAL_ERROR, METHOD_NOT_FOUND, Params, RpcError, answer
from localnet.chain_node.rpc_methods import Method, unknown_method
from localnet.chain_node.subscriptions import SubscriptionHub

MAX_CONNECTIONS = 256
MAX_MESSAGE_BYTES = 2 * 1024 * 1024
MAX_QUEUED_NOTIFICATIONS = 4_096
"""More than the heads of one dev_newBlock; a connection that lets so many pile up is closed."""

_CLOSE_TIMEOUT_S = 2.0
_DEV_PREFIX = "dev_"

_logger = logging.getLogger(__name__)


class Session:
    """One connection: answers its requests in order, and queues what it is told about."""

    def __init__(self, connection: ServerConnection, methods: Mapping[str, Method]) -> None:
        self._connection = connection
        self._methods = methods
        self._notifications: asyncio.Queue[bytes] = asyncio.Queue(MAX_QUEUED_NOTIFICATIONS)
        self._may_use_dev_methods = _is_loopback(connection.remote_address)

    def send_soon(self, message: bytes) -> None:
        """Queues a notification behind the response to the request in hand, or gives the connection up."""
        asyncio.get_running_loop().call_soon(self._enqueue, message)

    async def run(self) -> None:
        """Serves until either side closes; a client that does not read its answers gets no further ones."""
        notifier = asyncio.create_task(self._notify())
        try:
            async for message in self._connection:
                response = answer(message, self._call)
                if response is not None:
                    await self._connection.send(response, text=True)
        except ConnectionClosed:
            pass
        finally:
            notifier.cancel()

    def _call(self, name: str, params: Params) -> Any:
        method = self._methods.get(name)
        if method is None:
            raise unknown_method(name)
        if name.startswith(_DEV_PREFIX) and not self._may_use_dev_methods:
            raise RpcError(METHOD_NOT_FOUND, "RPC call is unsafe to be called externally")
        try:
            return method(self, params)
        except RpcError:
            raise
        except Exception as error:  # the root of a request: a fault in one answer must not end the node
            _logger.exception("request %s failed", name)
            raise RpcError(INTERNAL_ERROR, "Internal error: the node's log says more") from error

    def _enqueue(self, message: bytes) -> None:
        if self._connection.transport.is_closing():
            return
        try:
            self._notifications.put_nowait(message)
        except asyncio.QueueFull:
            _logger.warning("closing a connection that does not read what it subscribed to")
            self._connection.transport.abort()

    async def _notify(self) -> None:
        with suppress(ConnectionClosed):
            while True:
                await self._connection.send(await self._notifications.get(), text=True)


class RpcServer:
    """Accepts connections and runs a session for each."""

    def __init__(self, methods: Mapping[str, Method], hub: SubscriptionHub) -> None:
        self._methods = methods
        self._hub = hub
        self._open_connections = 0

    async def listen(self, host: str, port: int) -> Server:
        """Starts to listen.

        Raises:
            OSError: the address cannot be listened on.
        """
        no_browsers = [None]
        return await serve(
            self._serve,
            host,
            port,
            origins=no_browsers,
            process_request=self._admit,
            max_size=MAX_MESSAGE_BYTES,
            compression=None,
            close_timeout=_CLOSE_TIMEOUT_S,
        )

    def _admit(self, connection: ServerConnection, request: Request) -> Response | None:
        if self._open_connections < MAX_CONNECTIONS:
            return None
        return connection.respond(
            HTTPStatus.SERVICE_UNAVAILABLE, f"this node takes {MAX_CONNECTIONS} connections at most\n"
        )

    async def _serve(self, connection: ServerConnection) -> None:
        self._open_connections += 1
        session = Session(connection, self._methods)
        try:
            await session.run()
        finally:
            self._open_connections -= 1
            self._hub.drop(session)


def _is_loopback(address: Any) -> bool:
    try:
        return ipaddress.ip_address(address[0]).is_loopback
    except (ValueError, TypeError, IndexError):
        return False
