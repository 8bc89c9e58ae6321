"""What the auditor shows at GET /metrics. docs/MONITORING.md says what each series means."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import get_args

from prometheus_client import CollectorRegistry, ProcessCollector, generate_latest
from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from validator.verdicts import VerdictOutcome

PREFIX = "constantinople_auditor_"

NEVER = -1.0
"""Shown as the age of what has not happened yet."""


@dataclass(frozen=True)
class AuditorFacts:
    """The auditor at one moment; times are Unix milliseconds.

    Attributes:
        audits: verdicts since the process began, by outcome.
        weights_set_at_block: when the chain last took weights of this hotkey, or a commitment to them.
    """

    now_ms: int
    epoch: int | None
    epoch_ends_at_ms: int | None
    epochs_closing: int
    epochs_unpublished: int
    audits: Mapping[VerdictOutcome, int]
    audits_running: int
    audits_waiting: int
    requests_undrawn: int
    newest_record_at_ms: int | None
    newest_audit_at_ms: int | None
    block: int | None
    block_at_ms: int | None
    weights_set_at_block: int | None
    weights_waiting: bool
    permit: bool
    troubles: tuple[str, ...]


class AuditorExposition:
    """The text of GET /metrics."""

    def __init__(self, build: Mapping[str, str]) -> None:
        self._build = build

    def text(self, facts: AuditorFacts) -> bytes:
        """The series in Prometheus's text format, version 0.0.4."""
        registry = CollectorRegistry()
        registry.register(_Collector([*series(facts), _build_info(self._build)]))
        ProcessCollector(registry=registry)
        return generate_latest(registry)


class _Collector(Collector):
    def __init__(self, families: list[Metric]) -> None:
        self._families = families

    def collect(self) -> Iterable[Metric]:
        return self._families


def series(facts: AuditorFacts) -> list[Metric]:
    """Every series but those of the process and its build."""
    return [*_work(facts), *_chain(facts), _troubles(facts)]


def _work(facts: AuditorFacts) -> list[Metric]:
    now_ms = facts.now_ms
    late_ms = max(0, now_ms - (facts.epoch_ends_at_ms or now_ms))
    audits = CounterMetricFamily(
        PREFIX + "audits", "Audits that ended since the process began.", labels=("outcome",)
    )
    for outcome in get_args(VerdictOutcome):
        audits.add_metric((outcome,), facts.audits.get(outcome, 0))
    return [
        audits,
        _gauge("epoch", "The epoch that takes requests; -1: none.", _or_never(facts.epoch)),
        _gauge("epoch_overdue_seconds", "Since the open epoch should have ended.", late_ms / 1000),
        _gauge("epochs_closing", "Epochs whose audits are being finished.", facts.epochs_closing),
        _gauge("epochs_unpublished", "Sealed epochs that the store lacks.", facts.epochs_unpublished),
        _gauge("audits_running", "Audits under way.", facts.audits_running),
        _gauge("audits_waiting", "Audits to be made that have not ended.", facts.audits_waiting),
        _gauge("requests_undrawn", "Requests that wait for their challenge block.", facts.requests_undrawn),
        _gauge(
            "record_age_seconds", "Since the newest record read.", _age(now_ms, facts.newest_record_at_ms)
        ),
        _gauge("audit_age_seconds", "Since the newest audit.", _age(now_ms, facts.newest_audit_at_ms)),
    ]


def _chain(facts: AuditorFacts) -> list[Metric]:
    lag_s = _age(facts.now_ms, facts.block_at_ms)
    known = facts.block is not None and facts.weights_set_at_block is not None
    age = max(0, (facts.block or 0) - (facts.weights_set_at_block or 0)) if known else NEVER
    return [
        _gauge("chain_block", "The newest block; -1: none is known.", _or_never(facts.block)),
        _gauge("chain_lag_seconds", "Age of the newest block; -1: none is known.", lag_s),
        _gauge("weights_age_blocks", "Since the chain last took this hotkey's weights; -1: never.", age),
        _gauge("weights_waiting", "1 while weights wait to be set.", facts.weights_waiting),
        _gauge("validator_permit", "1 while the hotkey has a permit.", facts.permit),
    ]


def _troubles(facts: AuditorFacts) -> Metric:
    troubles = GaugeMetricFamily(
        PREFIX + "trouble", "1 for each trouble of GET /health.", labels=("subject",)
    )
    for subject in facts.troubles:
        troubles.add_metric((subject,), 1)
    return troubles


def _build_info(build: Mapping[str, str]) -> Metric:
    info = GaugeMetricFamily(
        PREFIX + "build_info", "Always 1; what runs is in the labels.", labels=tuple(build)
    )
    info.add_metric(tuple(build.values()), 1)
    return info


def _gauge(name: str, words: str, value: float) -> Metric:
    return GaugeMetricFamily(PREFIX + name, words, value=float(value))


def _or_never(value: int | None) -> float:
    return NEVER if value is None else value


def _age(now_ms: int, then_ms: int | None) -> float:
    return NEVER if then_ms is None else max(0, now_ms - then_ms) / 1000
