"""What signals do to a server, without one; `test_process.py` sends real ones."""

import asyncio

from gateway.drain import Drain
from tests.gateway.running_gateway import HANG_S


class Server:
    """Notes how it was ended."""

    def __init__(self) -> None:
        self.ended: list[str] = []
        self.finished = asyncio.Event()

    def finish(self) -> None:
        self.ended.append("finish")
        self.finished.set()

    def cut(self) -> None:
        self.ended.append("cut")


async def test_without_grace_the_first_signal_stops_listening() -> None:
    drain, server = Drain(0), Server()
    assert not drain.draining
    drain.signalled(server)
    assert (drain.draining, server.ended) == (True, ["finish"])


async def test_with_grace_it_listens_until_that_is_over() -> None:
    drain, server = Drain(0.01), Server()
    drain.signalled(server)
    assert (drain.draining, server.ended) == (True, [])
    async with asyncio.timeout(HANG_S):
        await server.finished.wait()
    assert server.ended == ["finish"]


async def test_a_second_signal_cuts_whatever_grace_there_is() -> None:
    drain, server = Drain(600), Server()
    drain.signalled(server)
    drain.signalled(server)
    assert server.ended == ["cut"]
