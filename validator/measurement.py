"""An epoch's inputs, and what is counted about each miner before miners are compared."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Annotated

from pydantic import Field

from shared.identifiers import Message, Ss58
from validator.audit_history import (
    NO_AUDITS,
    AuditCounts,
    MinerHistory,
    count_verdicts,
    sum_tallies,
    within_window,
)
from validator.request_facts import RequestFacts
from validator.scoring_config import ScoringConfig
from validator.verdicts import Verdict

SHORTEST_DURATION_MS = 1.0
"""Shorter answers count as if they had taken this long: no network is faster, and speeds stay finite."""

Uid = Annotated[int, Field(ge=0, lt=1 << 16)]


class RegisteredMiner(Message):
    """A hotkey and its uid on the metagraph when the epoch was closed."""

    uid: Uid
    hotkey: Ss58


@dataclass(frozen=True)
class EpochInputs:
    """Everything that decides an epoch's scores; order does not matter."""

    epoch: int
    requests: Sequence[RequestFacts]
    verdicts: Sequence[Verdict]
    miners: Sequence[RegisteredMiner]
    history: Sequence[MinerHistory]


@dataclass(frozen=True)
class MinerMeasures:
    """What was counted about one hotkey; `now` holds this epoch's audits, `earlier` those of its history."""

    hotkey: str
    uid: int | None
    requests: int
    answered: int
    failed: int
    output_tokens: int
    tokens_per_s: float | None
    ttft_ms: float | None
    now: AuditCounts
    earlier: AuditCounts


def _median(values: Iterable[float]) -> float | None:
    ordered = sorted(values)
    if not ordered:
        return None
    middle = len(ordered) // 2
    return ordered[middle] if len(ordered) % 2 else (ordered[middle - 1] + ordered[middle]) / 2


def _speed(answered: Sequence[RequestFacts], config: ScoringConfig) -> float | None:
    """Median tokens/s over whole answers, first token's wait included: a burst at the end gains nothing."""
    speaking = [request for request in answered if request.output_tokens]
    long = [request for request in speaking if request.output_tokens >= config.speed_min_tokens]
    return _median(
        request.output_tokens * 1000 / max(request.duration_ms, SHORTEST_DURATION_MS)
        for request in long or speaking
    )


def measure_miners(inputs: EpochInputs, config: ScoringConfig) -> list[MinerMeasures]:
    """Counts, speeds and audits of every hotkey that is registered or was sent a request, by hotkey."""
    requests: dict[str, list[RequestFacts]] = {miner.hotkey: [] for miner in inputs.miners}
    for request in inputs.requests:
        requests.setdefault(request.miner_hotkey, []).append(request)
    verdicts: dict[str, list[Verdict]] = {}
    for verdict in inputs.verdicts:
        verdicts.setdefault(verdict.miner_hotkey, []).append(verdict)
    uids = {miner.hotkey: miner.uid for miner in inputs.miners}
    earlier = {
        past.hotkey: sum_tallies(within_window(past, inputs.epoch, config.history_epochs))
        for past in inputs.history
    }
    return [
        _measure(
            hotkey,
            uids.get(hotkey),
            requests[hotkey],
            count_verdicts(verdicts.get(hotkey, ())),
            earlier.get(hotkey, NO_AUDITS),
            config,
        )
        for hotkey in sorted(requests)
    ]


def _measure(
    hotkey: str,
    uid: int | None,
    requests: Sequence[RequestFacts],
    now: AuditCounts,
    earlier: AuditCounts,
    config: ScoringConfig,
) -> MinerMeasures:
    answered = [request for request in requests if request.outcome == "answered"]
    return MinerMeasures(
        hotkey=hotkey,
        uid=uid,
        requests=len(requests),
        answered=len(answered),
        failed=sum(request.outcome == "failed" for request in requests),
        output_tokens=sum(request.output_tokens for request in answered),
        tokens_per_s=_speed(answered, config),
        ttft_ms=_median(request.ttft_ms for request in answered if request.ttft_ms is not None),
        now=now,
        earlier=earlier,
    )
