"""One client's request while it is served, and how much may be served at once."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from gateway.client_request import ClientRequest
from gateway.config import GatewayConfig
from gateway.errors import MinerFailure
from gateway.miner_choice import Wish
from gateway.visit import Visit


@dataclass
class Serving:
    """One client's request while it is served.

    Attributes:
        tried: hotkeys that were asked.
        first_id: the id of the first attempt.
        headers: of the last attempt.
    """

    request: ClientRequest
    wish: Wish
    visit: Visit
    seed: int
    tried: set[str] = field(default_factory=set)
    failures: list[MinerFailure] = field(default_factory=list)
    first_id: str | None = None
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Bounds:
    """How much is done at once for clients and asked of miners; the flags of these names say what each is."""

    hedge: bool
    miner_concurrency: int
    max_waiting: int
    waiting_s: float

    @classmethod
    def of(cls, config: GatewayConfig) -> "Bounds":
        """Those that the flags give."""
        return cls(config.hedge, config.miner_concurrency, config.max_waiting, config.waiting_seconds)
