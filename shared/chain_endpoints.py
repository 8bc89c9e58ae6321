"""Which endpoint to use next: the one that works, until it fails; one that failed rests a while."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from shared.chain_network import Endpoint

FIRST_REST_S = 1.0
"""Rest after a second failure in a row; the first is answered by trying again at once, because a connection
that idled is often simply gone."""

LONGEST_REST_S = 15.0
"""Longer than a block, and short enough that a chain which is back is noticed at once."""

_MOST_PATIENT = 6
"""Failures from which on the rest is the longest."""


@dataclass
class _Record:
    failures: int = 0
    ready_at_s: float = 0.0


class EndpointPool:
    """Endpoints in the order in which they are tried.

    Args:
        clock: seconds, never going back.
        chance: a number from 0 to 1: many processes that lost one node don't return in one moment.
    """

    def __init__(
        self, endpoints: Sequence[Endpoint], clock: Callable[[], float], chance: Callable[[], float]
    ) -> None:
        self._endpoints, self._clock, self._chance = tuple(endpoints), clock, chance
        self._records = {endpoint: _Record() for endpoint in self._endpoints}
        self._preferred = self._endpoints[0]

    def __len__(self) -> int:
        return len(self._endpoints)

    def next(self) -> Endpoint | None:
        """The endpoint in use, or the next after it that does not rest; None while all rest."""
        start, now_s = self._endpoints.index(self._preferred), self._clock()
        order = (*self._endpoints[start:], *self._endpoints[:start])
        return next((one for one in order if self._records[one].ready_at_s <= now_s), None)

    def others(self, endpoint: Endpoint) -> list[Endpoint]:
        """All but one, those that rest left out."""
        now_s = self._clock()
        return [one for one in self._endpoints if one != endpoint and self._records[one].ready_at_s <= now_s]

    def resting_s(self) -> float:
        """Seconds until an endpoint may be tried."""
        return max(0.0, min(record.ready_at_s for record in self._records.values()) - self._clock())

    def worked(self, endpoint: Endpoint) -> None:
        """The endpoint answered: it is the one to use."""
        self._records[endpoint].failures = 0
        self._preferred = endpoint

    def failed(self, endpoint: Endpoint, told_to_wait: bool = False) -> None:
        """The endpoint did not: the next is to be tried, and this one rests, longer each time.

        Args:
            told_to_wait: it said that it is asked too much; then it rests longest.
        """
        record = self._records[endpoint]
        record.failures = max(record.failures + 1, _MOST_PATIENT * told_to_wait)
        record.ready_at_s = self._clock() + self._rest_s(record.failures)
        if endpoint == self._preferred:
            place = self._endpoints.index(endpoint) + 1
            self._preferred = self._endpoints[place % len(self._endpoints)]

    def _rest_s(self, failures: int) -> float:
        if failures == 1:
            return 0.0
        longest = min(LONGEST_REST_S, FIRST_REST_S * 2.0 ** min(failures - 2, 10))
        return longest * (1 + self._chance()) / 2
