"""What a miner counts for Prometheus, beside vLLM's own series. docs/MONITORING.md says what each means."""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from miners.admission import Admission
from miners.commitment_store import CommitmentStore
from miners.receipt_issuer import ReceiptIssuer
from shared.challenges import CHALLENGE_PATH
from shared.inference_paths import INFERENCE_PATHS

PREFIX = "constantinople_miner_"

OTHER = "other"

_NAMED_PATHS = frozenset({*INFERENCE_PATHS, CHALLENGE_PATH})

BROKEN_OFF = "none"
"""Status of a request that ended without an answer."""


class CountedRequests:
    """ASGI middleware: counts requests by path and status; it stands outermost, so that refusals count."""

    def __init__(self, app: ASGIApp, counts: "Counter[tuple[str, str]]") -> None:
        self._app, self._counts = app, counts

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        status = BROKEN_OFF

        async def counted(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = str(message["status"])
            await send(message)

        try:
            await self._app(scope, receive, counted)
        finally:
            path = scope["path"] if scope["path"] in _NAMED_PATHS else OTHER
            self._counts[path, status] += 1


@dataclass(eq=False)
class MinerMetrics(Collector):
    """Reads the miner's parts when Prometheus asks.

    Attributes:
        requests: how many ended, by (path, status).
        troubles: what the miner's presence on chain lacks, in words by subject.
    """

    build: Mapping[str, str]
    commitments: CommitmentStore
    issuer: ReceiptIssuer
    admission: Admission
    requests: "Counter[tuple[str, str]]" = field(default_factory=Counter)
    troubles: Callable[[], Mapping[str, str]] = dict

    def collect(self) -> Iterable[Metric]:
        """All series."""
        yield self._requests()
        receipts = CounterMetricFamily(
            PREFIX + "receipts", "Answers, with and without one.", labels=("outcome",)
        )
        receipts.add_metric(("issued",), self.issuer.issued)
        receipts.add_metric(("missing",), self.issuer.missing)
        yield receipts
        yield _gauge("commitments", "Commitments that may be challenged.", len(self.commitments))
        yield _gauge("commitment_bytes", "Memory that they take.", self.commitments.size_bytes)
        yield _gauge("commitment_limit_bytes", "--commitment-memory-mib.", self.commitments.limit_bytes)
        writable = self.commitments.disk_trouble is None
        yield _gauge("commitment_disk_writable", "1 while they reach the disk.", writable)
        yield _gauge(
            "admitted_validators", "Hotkeys with a permit, who may call.", self.admission.number_of_validators
        )
        troubles = GaugeMetricFamily(PREFIX + "trouble", "1 for each trouble on chain.", labels=("subject",))
        for subject in self.troubles():
            troubles.add_metric((subject,), 1)
        yield troubles
        info = GaugeMetricFamily(PREFIX + "build_info", "Always 1.", labels=tuple(self.build))
        info.add_metric(tuple(self.build.values()), 1)
        yield info

    def _requests(self) -> Metric:
        requests = CounterMetricFamily(PREFIX + "requests", "Requests that ended.", labels=("path", "status"))
        for labels, count in dict(self.requests).items():
            requests.add_metric(labels, count)
        return requests


def _gauge(name: str, words: str, value: float) -> Metric:
    return GaugeMetricFamily(PREFIX + name, words, value=float(value))
