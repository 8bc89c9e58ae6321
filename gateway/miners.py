"""The miners that the gateway knows, and what it has measured about each."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, overload

from gateway.audit_weight import AuditStandings, smoothed_pass_rate
from gateway.breaker import Breaker, Pass, State
from gateway.clock import Clock
from gateway.pace import Measured, Pace, PaceBook
from gateway.recent_count import Recent
from gateway.routing import MinerLoad
from gateway.standings import AuditStanding, Standings
from shared.addresses import base_url, is_callable_address, parse_endpoint
from shared.errors import MalformedMessage

NOT_PROBED = "its health has not been asked yet"

VIRTUAL_ANSWERS = 2
"""What a miner is taken to have answered before anything is known of it (`ScoringConfig.virtual_answers`)."""


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
        self.breaker, self.paces = Breaker(), PaceBook()
        self.attempts, self.hedged = Recent(), Recent()
        self._sampled, self._answered, self._failed = Recent(), Recent(), Recent()

    @property
    def callable(self) -> bool:
        """Whether requests may be sent to it."""
        return not self.why_not_callable

    def move(self, endpoint: Endpoint) -> None:
        """Take over a new address; it is not called before its health has been asked there."""
        if endpoint != self.endpoint:
            self.endpoint = endpoint
            self.why_not_callable = endpoint.refusal or NOT_PROBED

    def begin(self, now_s: float, free: bool = True) -> Pass:
        """An attempt starts.

        Args:
            free: whether routing could have sent it anywhere; what was steered is no fair sample.
        """
        self.in_flight += 1
        self.attempts.add(now_s)
        if free:
            self._sampled.add(now_s)
        return self.breaker.enter(now_s)

    def end(self) -> None:
        """An attempt has ended, whichever way."""
        self.in_flight -= 1

    def succeeded(self, entered: Pass, now_s: float) -> None:
        """An attempt went well: earlier failures are forgotten."""
        self._answered.add(now_s)
        self.breaker.succeeded(entered)

    def failed(self, entered: Pass, now_s: float) -> None:
        """An attempt failed."""
        if self.breaker.failed(entered, now_s):
            self._failed.add(now_s)

    def success_rate(self, now_s: float) -> float:
        """Of its recent requests, two that went well added (`ScoringConfig.virtual_answers`).

        An outage counts once, however many requests it broke off and however many probes it outlasted: what
        is asked is how likely the next request is to fail now that the miner answers.
        """
        if self._failed.none:
            return 1.0
        answered, failed = self._answered.at(now_s), self._failed.at(now_s)
        return (answered + VIRTUAL_ANSWERS) / (answered + failed + VIRTUAL_ANSWERS)

    def load(self, now_s: float, band: int = 0, standing: AuditStanding | None = None) -> MinerLoad:
        """What routing decides on, for a request with a prompt of that band."""
        return MinerLoad(
            self.uid,
            self.in_flight,
            self._sampled.at(now_s),
            self.breaker.ready_at_s,
            self.paces.at(band),
            self.success_rate(now_s),
            1.0 if standing is None else smoothed_pass_rate(standing),
            standing is not None and standing.rejected,
        )

    def status(self, now_s: float) -> dict[str, Any]:
        """This miner in GET /health."""
        return {
            "uid": self.uid,
            "hotkey": self.hotkey,
            "callable": self.callable,
            "in_flight": self.in_flight,
            "reason": self.why_not_callable or None,
            "breaker": self.breaker.status(now_s),
            "success_rate": round(self.success_rate(now_s), 3),
        }


class _Loads(Sequence[MinerLoad]):
    """The loads of some miners at one moment: routing looks at few of many."""

    def __init__(
        self, miners: Sequence[KnownMiner], now_s: float, band: int, standings: AuditStandings
    ) -> None:
        self._miners, self._now_s, self._band, self._standings = miners, now_s, band, standings

    def __len__(self) -> int:
        return len(self._miners)

    @overload
    def __getitem__(self, place: int) -> MinerLoad: ...
    @overload
    def __getitem__(self, place: slice) -> Sequence[MinerLoad]: ...
    def __getitem__(self, place: int | slice) -> MinerLoad | Sequence[MinerLoad]:
        if isinstance(place, slice):
            return _Loads(self._miners[place], self._now_s, self._band, self._standings)
        miner = self._miners[place]
        return miner.load(self._now_s, self._band, self._standings.of(miner.hotkey))


class MinerTable:
    """All miners by uid. A new hotkey on a uid is a new miner; a new address has its health asked first."""

    def __init__(self, clock: Clock, allow_local: bool, standings: AuditStandings | None = None) -> None:
        self._clock = clock
        self._allow_local = allow_local
        self._by_uid: dict[int, KnownMiner] = {}
        self._paces = PaceBook()
        self.standings: AuditStandings = standings or Standings()

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

    def callable(self, without: Collection[str] = ()) -> list[KnownMiner]:
        """The miners that requests may be sent to, but for those hotkeys."""
        miners = self._by_uid.values()
        return [miner for miner in miners if not miner.why_not_callable and miner.hotkey not in without]

    def loads(self, without: Collection[str], band: int = 0) -> list[MinerLoad]:
        """Loads of the callable miners whose hotkeys are not in `without`, for prompts of that band."""
        return list(self.loads_of(self.callable(without), band))

    def loads_of(self, miners: Sequence[KnownMiner], band: int = 0) -> Sequence[MinerLoad]:
        """Loads of these miners, made as they are looked at."""
        return _Loads(miners, self._clock.monotonic_s(), band, self.standings)

    def typical(self, band: int) -> Pace:
        """The pace of all miners together with prompts of that band."""
        return self._paces.at(band)

    def measured(self, miner: KnownMiner, answer: Measured) -> None:
        """Note how fast a whole answer of `miner` came."""
        now_s, typical = self._clock.monotonic_s(), self.typical(answer.band)
        miner.paces.add(answer, typical, now_s)
        self._paces.add(answer, typical, now_s)

    def statuses(self) -> list[dict[str, Any]]:
        """All miners in GET /health, by uid."""
        now_s = self._clock.monotonic_s()
        return [miner.status(now_s) for miner in self.all()]

    def breaker_states(self) -> Mapping[int, State]:
        """The state of each miner's circuit breaker, by uid."""
        now_s = self._clock.monotonic_s()
        return {uid: miner.breaker.state(now_s) for uid, miner in self._by_uid.items()}
