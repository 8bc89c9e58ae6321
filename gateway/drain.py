"""The gateway's end: at the first signal it finishes what runs, at the second it stops at once."""

import asyncio
import logging
from typing import Protocol

log = logging.getLogger(__name__)


class Stoppable(Protocol):
    """A server that can be ended."""

    def finish(self) -> None:
        """Accept no more connections, and end when those that are open have their answers."""
        ...

    def cut(self) -> None:
        """End now; running answers get an error."""
        ...


class Drain:
    """Whether the gateway is ending, and what signals do about it.

    Args:
        grace_s: for so long after the first signal it still accepts connections, while /ready tells load
            balancers to send none.

    Attributes:
        draining: from the first signal on: /ready says no, and no connection is kept for another request.
    """

    def __init__(self, grace_s: float) -> None:
        self._grace_s = grace_s
        self.draining = False

    def signalled(self, server: Stoppable) -> None:
        """SIGTERM or SIGINT came. Must be called in the event loop."""
        if self.draining:
            log.warning("a second signal: running answers are cut off")
            server.cut()
            return
        self.draining = True
        log.info("shutting down: running answers may finish, /ready says no")
        if self._grace_s > 0:
            asyncio.get_running_loop().call_later(self._grace_s, server.finish)
        else:
            server.finish()
