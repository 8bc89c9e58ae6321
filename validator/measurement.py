"""An epoch's inputs, and what is counted about each miner before miners are compared."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

from pydantic import Field

from shared.identifiers import Message, Ss58
from shared.receipts import UnixMs
from validator.audit_history import (
    NO_AUDITS,
    AuditCounts,
    MinerHistory,
    count_verdicts,
    standings,
    sum_tallies,
    within_window,
)
from validator.audit_rate import audit_rate
from validator.comparison import median, speed
from validator.open_refusals import OpenRefusal
from validator.reliability import UNASKED, Reliability, reliabilities
from validator.request_facts import RequestFacts
from validator.round_history import NO_ROUND_INPUTS, RoundInputs
from validator.scoring_config import ScoringConfig
from validator.sequential_test import NEWCOMER, Standing, Step, steps
from validator.verdicts import Verdict

Uid = Annotated[int, Field(ge=0, lt=1 << 16)]


class RegisteredMiner(Message):
    """A hotkey and its uid on the metagraph when the epoch was closed."""

    uid: Uid
    hotkey: Ss58


class ChallengeBlock(Message):
    """A block that challenges of an epoch were drawn from; the time is the block's own."""

    number: Annotated[int, Field(ge=0)]
    hash: Annotated[str, Field(max_length=66)]
    timestamp_ms: UnixMs


@dataclass(frozen=True)
class EpochInputs:
    """Everything that decides an epoch's scores; order does not matter."""

    epoch: int
    requests: Sequence[RequestFacts]
    verdicts: Sequence[Verdict]
    miners: Sequence[RegisteredMiner]
    history: Sequence[MinerHistory]
    blocks: Sequence[ChallengeBlock] = ()
    refusals: Sequence[OpenRefusal] = ()
    rounds: RoundInputs = NO_ROUND_INPUTS


@dataclass(frozen=True)
class MinerMeasures:
    """What was counted about one hotkey.

    Attributes:
        requests: what it was sent in this epoch, and refusals of the epoch before that count in this one.
        failed: transport failures, and refusals of requests that another miner answered.
        reliability: what share of what it was asked it answered (`validator/reliability.py`).
        answers: the answers that speak about speed.
        unanswered: what it refused or failed in this epoch, whoever is to blame.
        now: this epoch's audits; `earlier` those of its history.
        before: the sequential test before the epoch; `steps` what each audit did to it.
        audit_rate: the share of its answers that was audited.
    """

    hotkey: str
    uid: int | None
    requests: int
    answered: int
    failed: int
    reliability: float
    output_tokens: int
    answers: tuple[RequestFacts, ...]
    unanswered: tuple[RequestFacts, ...]
    tokens_per_s: float | None
    ttft_ms: float | None
    now: AuditCounts
    earlier: AuditCounts
    before: Standing
    steps: tuple[Step, ...]
    audit_rate: float

    @property
    def after(self) -> Standing:
        """The sequential test after the epoch."""
        return self.steps[-1].after if self.steps else self.before


def _speaking(answered: Sequence[RequestFacts], config: ScoringConfig) -> tuple[RequestFacts, ...]:
    """Answers with tokens that went where routing sent them, and not where a client wanted: the long ones, or
    all if there are no long ones. Steered answers speak only for a miner that has no others."""
    speaking = tuple(request for request in answered if request.output_tokens)
    speaking = tuple(request for request in speaking if not request.steered) or speaking
    long = tuple(request for request in speaking if request.output_tokens >= config.speed_min_tokens)
    return long or speaking


def measure_miners(inputs: EpochInputs, config: ScoringConfig) -> list[MinerMeasures]:
    """Counts, speeds and audits of every hotkey that is registered or was sent a request, by hotkey."""
    requests: dict[str, list[RequestFacts]] = {miner.hotkey: [] for miner in inputs.miners}
    for request in inputs.requests:
        requests.setdefault(request.miner_hotkey, []).append(request)
    verdicts: dict[str, list[Verdict]] = {hotkey: [] for hotkey in requests}
    for verdict in inputs.verdicts:
        verdicts.setdefault(verdict.miner_hotkey, []).append(verdict)
    reliable = reliabilities(inputs.requests, inputs.refusals, config)
    past = {one.hotkey: one for one in inputs.history}
    tests = standings(inputs.history)
    uids = {miner.hotkey: miner.uid for miner in inputs.miners}
    return [
        _measure(
            hotkey,
            uids.get(hotkey),
            requests[hotkey],
            reliable.get(hotkey, UNASKED),
            _Audited(
                verdicts[hotkey],
                tests.get(hotkey, NEWCOMER),
                _earlier(past.get(hotkey), inputs.epoch, config),
            ),
            config,
        )
        for hotkey in sorted(requests)
    ]


@dataclass(frozen=True)
class _Audited:
    """The audits of one hotkey."""

    verdicts: Sequence[Verdict]
    before: Standing
    earlier: AuditCounts


def _earlier(past: MinerHistory | None, epoch: int, config: ScoringConfig) -> AuditCounts:
    return sum_tallies(within_window(past, epoch, config.history_epochs)) if past else NO_AUDITS


def _measure(
    hotkey: str,
    uid: int | None,
    requests: Sequence[RequestFacts],
    reliable: Reliability,
    audited: _Audited,
    config: ScoringConfig,
) -> MinerMeasures:
    answered = [request for request in requests if request.outcome == "answered"]
    speaking = _speaking(answered, config)
    return MinerMeasures(
        hotkey=hotkey,
        uid=uid,
        requests=len(requests) + reliable.late,
        answered=reliable.answered,
        failed=reliable.failed,
        reliability=reliable.share,
        output_tokens=sum(request.output_tokens for request in answered),
        answers=speaking,
        unanswered=tuple(request for request in requests if request.outcome in ("failed", "refused")),
        tokens_per_s=median(speed(request) for request in speaking),
        ttft_ms=median(request.ttft_ms for request in answered if request.ttft_ms is not None),
        now=count_verdicts(audited.verdicts),
        earlier=audited.earlier,
        before=audited.before,
        steps=steps(audited.before, audited.verdicts, config),
        audit_rate=audit_rate(audited.before, ((one.outcome, one.log_e) for one in audited.verdicts), config),
    )
