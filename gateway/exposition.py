"""The text of GET /metrics, and who may read it."""

import ipaddress
import os
from collections.abc import Callable, Collection, Iterable, Sequence

from prometheus_client import CollectorRegistry, ProcessCollector, disable_created_metrics, generate_latest
from prometheus_client.metrics_core import Metric
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_client.registry import Collector
from starlette.types import Scope

from gateway.series import MinerKey

SHARED_FOLDER_VARIABLE = "PROMETHEUS_MULTIPROC_DIR"
"""prometheus_client's own: a folder, empty at the start, through which several processes share their metrics.
It must be set before the first of them imports that library."""

FORWARDING_HEADERS = frozenset({b"forwarded", b"x-forwarded-for", b"x-real-ip"})

Network = ipaddress.IPv4Network | ipaddress.IPv6Network


class Exposition:
    """What all series look like now.

    Args:
        shared_folder: where several processes share their series; None: this process is alone.

    Attributes:
        registry: takes the series of this process; None where they go through the shared folder.
    """

    def __init__(self, shared_folder: str | None, miners: Callable[[], Collection[MinerKey]]) -> None:
        disable_created_metrics()  # type: ignore[no-untyped-call]
        self._shown = CollectorRegistry()
        self.registry: CollectorRegistry | None = None
        if shared_folder:
            shared = MultiProcessCollector(None, path=shared_folder)  # type: ignore[no-untyped-call]
            self._shown.register(_WithoutFormerMiners(shared, miners))
        else:
            ProcessCollector(registry=self._shown)
            self.registry = self._shown

    def text(self) -> bytes:
        """The series in Prometheus's text format, version 0.0.4."""
        return generate_latest(self._shown)


def shared_folder() -> str | None:
    """Where this process shares its series with others; None when it is alone."""
    return os.environ.get(SHARED_FOLDER_VARIABLE)


class _WithoutFormerMiners(Collector):
    """Leaves out the series of miners that left: what processes share can't be removed there."""

    def __init__(self, inner: Collector, miners: Callable[[], Collection[MinerKey]]) -> None:
        self._inner, self._miners = inner, miners

    def collect(self) -> Iterable[Metric]:
        present = {(str(uid), hotkey) for uid, hotkey in self._miners()}
        for metric in self._inner.collect():
            metric.samples = [
                sample
                for sample in metric.samples
                if "uid" not in sample.labels or (sample.labels["uid"], sample.labels["hotkey"]) in present
            ]
            yield metric


def may_read(scope: Scope, networks: Sequence[Network]) -> bool:
    """Whether a request comes from one of `networks`.

    One that a proxy on this machine passed on without saying for whom it did, or that says it came from this
    machine itself, is refused: strangers reach the proxy too.
    """
    host = scope["client"][0] if scope.get("client") else ""
    try:
        address = ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return False
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
        address = address.ipv4_mapped
    passed_on = any(name in FORWARDING_HEADERS for name, _ in scope["headers"])
    if address.is_loopback and passed_on:
        return False
    return any(address in network for network in networks)
