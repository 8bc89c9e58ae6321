"""The record log, observed: what is written is counted, and how syncing goes is timed."""

from gateway.clock import Clock
from gateway.metrics import Metrics
from gateway.miner_metrics import AttemptFacts
from gateway.observation import current
from gateway.recording import RecordLog
from shared.records import RequestRecord


class ObservedRecords:
    """A RecordLog that passes everything on to another."""

    def __init__(self, records: RecordLog, metrics: Metrics, clock: Clock) -> None:
        self._records, self._metrics, self._clock = records, metrics, clock
        self._synced_at_s = clock.monotonic_s()
        self._appended = self._synced = self._errors = 0
        waiting = metrics.gauge("records_unsynced", "Records that a loss of power would cost now.", "livesum")
        age = metrics.gauge(
            "record_sync_age_seconds", "Since the record log was last forced to disk.", "livemax"
        )
        metrics.before_scrape(lambda: waiting.set(self._appended - self._synced))
        metrics.before_scrape(lambda: age.set(clock.monotonic_s() - self._synced_at_s))
        metrics.count_errors("record_log", lambda: self._errors)

    def append(self, record: RequestRecord) -> None:
        """Tell the request that its attempt has ended, then write. Raises OSError."""
        one = current()
        if one is not None:
            one.attempt_ended(record)
        self._metrics.attempt_ended(facts_of(record))
        try:
            self._records.append(record)
        except OSError:
            self._errors += 1
            raise
        self._appended += 1

    def sync(self) -> None:
        """Raises OSError. Runs in a thread; what is appended meanwhile counts as waiting."""
        began_s, covered = self._clock.monotonic_s(), self._appended
        try:
            self._records.sync()
        except OSError:
            self._errors += 1
            raise
        self._synced_at_s = self._clock.monotonic_s()
        self._synced = covered
        self._metrics.record_sync.observe(self._synced_at_s - began_s)

    def check_room(self) -> None:
        """Raises OSError."""
        self._records.check_room()

    def close(self) -> None:
        """Raises OSError."""
        self._records.close()


def facts_of(record: RequestRecord) -> AttemptFacts:
    """What metrics count of an attempt."""
    return AttemptFacts(
        miner=(record.miner_uid, record.miner_hotkey),
        outcome=record.outcome,
        prompt_tokens=record.prompt_tokens,
        output_tokens=record.output_tokens,
        ttft_s=None if record.ttft_ms is None else record.ttft_ms / 1000,
        duration_s=record.duration_ms / 1000,
        choices=len(record.choices),
    )
