"""A proxy before a chain node that does what half-dead nodes do: freeze, drop, lag and talk nonsense."""

import asyncio
import json
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any

from websockets.asyncio.client import ClientConnection, connect
from websockets.asyncio.server import ServerConnection, serve
from websockets.exceptions import ConnectionClosed

from localnet.chain_node.node import listening_url

Request = dict[str, Any]
Answer = Callable[[Request], str | None]
"""The text that is sent for a request; None passes it on to the node."""

SUBMIT = "author_submitAndWatchExtrinsic"
_HEADS = ("chain_getHead", "chain_getFinalizedHead", "chain_getHeader")


class MisbehavingNode:
    """A websocket address that behaves until it is told otherwise.

    Attributes:
        silent: takes connections and requests, and answers none.
        silent_on: methods that are not answered, and after which the connection stays silent.
        drop_after: methods that reach the node and whose answer is lost together with the connection.
        standing: the newest block stays what it was when this was set.
        answer: answers in the node's place.
        told: what becomes of each notification; None loses it together with the connection.
        asked: how often each method was asked for.
    """

    def __init__(self, node_url: str) -> None:
        self._node_url = node_url
        self._frozen: dict[str, Any] = {}
        self.url = ""
        self.silent = False
        self.silent_on: set[str] = set()
        self.drop_after: set[str] = set()
        self.standing = False
        self.answer: Answer = lambda request: None
        self.told: Callable[[Any], Any] = lambda notification: notification
        self.asked: Counter[str] = Counter()
        self.open = 0

    async def serve(self, client: ServerConnection) -> None:
        self.open += 1
        try:
            async with connect(self._node_url, compression=None) as node:
                with suppress(ConnectionClosed):
                    await self._relay(client, node)
        finally:
            self.open -= 1

    async def _relay(self, client: ServerConnection, node: ClientConnection) -> None:
        methods: dict[Any, Request] = {}
        back = asyncio.create_task(self._answers(client, node, methods))
        mute = False
        try:
            async for text in client:
                request = json.loads(text)
                self.asked[request["method"]] += 1
                mute = mute or self.silent or request["method"] in self.silent_on
                if mute:
                    continue
                own = self._own_answer(request)
                if own is not None:
                    await client.send(own)
                    continue
                methods[request["id"]] = request
                await node.send(text)
        finally:
            back.cancel()

    def _own_answer(self, request: Request) -> str | None:
        key = self._head_key(request)
        if self.standing and key in self._frozen:
            return json.dumps({"jsonrpc": "2.0", "id": request["id"], "result": self._frozen[key]})
        return self.answer(request)

    @staticmethod
    def _head_key(request: Request) -> str | None:
        newest = not any(request.get("params") or [])
        return request["method"] if request["method"] in _HEADS and newest else None

    async def _answers(
        self, client: ServerConnection, node: ClientConnection, methods: dict[Any, Request]
    ) -> None:
        with suppress(ConnectionClosed):
            async for text in node:
                message = json.loads(text)
                request = methods.pop(message.get("id"), None)
                if request is not None:
                    key = self._head_key(request)
                    if key is not None and not self.standing:
                        self._frozen[key] = message.get("result")
                    if request["method"] in self.drop_after:
                        self.drop_after.discard(request["method"])
                        client.transport.abort()
                        return
                if request is None:
                    message = self.told(message)
                    if message is None:
                        client.transport.abort()
                        return
                    text = json.dumps(message)
                await client.send(text, text=True)


@asynccontextmanager
async def misbehaving(node_url: str) -> AsyncIterator[MisbehavingNode]:
    """A proxy before the node at `node_url`."""
    proxy = MisbehavingNode(node_url)
    async with serve(proxy.serve, "127.0.0.1", 0, compression=None, close_timeout=0.1) as server:
        proxy.url = listening_url(server)
        yield proxy
        for connection in server.connections:
            connection.transport.abort()
