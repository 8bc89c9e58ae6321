"""The miners that the gateway knows, and what it has measured about each."""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from gateway.clock import Clock
from gateway.routing import MinerLoad, decayed
from shared.addresses import base_url, is_callable_address, parse_endpoint
from shared.errors import MalformedMessage

NOT_PROBED = "its health has not been asked yet"


@dataclass(frozen=True)
class MinerListing:
    """Where a uid says that it serves: `axon` is "ip:port", hostile until parsed, or None."""

    uid: int
    hotkey: str
    axon: str | None


@dataclass(frozen=True)
class Endpoint:
    """The address of a listing: its URL, or why it must not be called."""

    url: str | None
    refusal: str | None = None


def endpoint_of(axon: str | None, allow_local: bool) -> Endpoint:
    """What an axon leads to. Loopback is callable with `allow_local` only, other private nets never."""
    if axon is None:
        return Endpoint(None, "it has published no address")
    try:
        host, port = parse_endpoint(axon)
    except MalformedMessage as error:
        return Endpoint(None, str(error))
    if not is_callable_address(host, allow_local):
        return Endpoint(None, f"its address {host} is not a public one")
    return Endpoint(base_url(host, port))


class KnownMiner:
    """One hotkey on one uid: where it is, whether it can be called, how it has done."""

    def __init__(self, listing: MinerListing, endpoint: Endpoint) -> None:
        self.uid, self.hotkey = listing.uid, listing.hotkey
        self.endpoint = endpoint
        self.why_not_callable = endpoint.refusal or NOT_PROBED
        self.in_flight = 0
        self._failures_in_a_row = 0
        self._last_failure_s = 0.0
        self._requests, self._counted_at_s = 0.0, 0.0

    @property
    def callable(self) -> bool:
        """Whether requests may be sent to it."""
        return not self.why_not_callable

    def move(self, endpoint: Endpoint) -> None:
        """Take over a new address; it is not called before its health has been asked there."""
        if endpoint != self.endpoint:
            self.endpoint = endpoint
            self.why_not_callable = endpoint.refusal or NOT_PROBED

    def begin(self, now_s: float) -> None:
        """An attempt starts."""
        self.in_flight += 1
        self._requests = decayed(self._requests, now_s - self._counted_at_s) + 1.0
        self._counted_at_s = now_s

    def end(self) -> None:
        """An attempt has ended, whichever way."""
        self.in_flight -= 1

    def succeeded(self) -> None:
        """An attempt went well: earlier failures are forgotten."""
        self._failures_in_a_row = 0

    def failed(self, now_s: float) -> None:
        """An attempt failed."""
        self._failures_in_a_row += 1
        self._last_failure_s = now_s

    def load(self, now_s: float) -> MinerLoad:
        """What routing decides on."""
        recent = decayed(self._requests, now_s - self._counted_at_s)
        return MinerLoad(self.uid, self.in_flight, recent, self._failures_in_a_row, self._last_failure_s)

    def status(self) -> dict[str, Any]:
        """This miner in GET /health."""
        return {
            "uid": self.uid,
            "hotkey": self.hotkey,
            "callable": self.callable,
            "in_flight": self.in_flight,
            "reason": self.why_not_callable or None,
        }


class MinerTable:
    """All miners by uid. A new hotkey on a uid is a new miner; a new address has its health asked first."""

    def __init__(self, clock: Clock, allow_local: bool) -> None:
        self._clock = clock
        self._allow_local = allow_local
        self._by_uid: dict[int, KnownMiner] = {}

    def update(self, listings: Iterable[MinerListing]) -> None:
        """Replace the list; what was measured about hotkeys that stay is kept."""
        self._by_uid = {listing.uid: self._known(listing) for listing in listings}

    def _known(self, listing: MinerListing) -> KnownMiner:
        endpoint = endpoint_of(listing.axon, self._allow_local)
        known = self._by_uid.get(listing.uid)
        if known is None or known.hotkey != listing.hotkey:
            return KnownMiner(listing, endpoint)
        known.move(endpoint)
        return known

    def all(self) -> Sequence[KnownMiner]:
        """Every miner, by uid."""
        return sorted(self._by_uid.values(), key=lambda miner: miner.uid)

    def keys(self) -> set[tuple[int, str]]:
        """Every miner's uid and hotkey."""
        return {(miner.uid, miner.hotkey) for miner in self._by_uid.values()}

    def get(self, uid: int) -> KnownMiner:
        """The miner of `uid`, which must be known."""
        return self._by_uid[uid]

    def loads(self, without: Collection[str]) -> list[MinerLoad]:
        """Loads of the callable miners whose hotkeys are not in `without`."""
        now_s = self._clock.monotonic_s()
        miners = (miner for miner in self._by_uid.values() if miner.callable)
        return [miner.load(now_s) for miner in miners if miner.hotkey not in without]
