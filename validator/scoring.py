"""Scores of an epoch: a pure function of what is published, so that anyone can repeat it.

No clock, network or random source. Only counting, sorting and the IEEE 754 operations + − × ÷, which
are rounded the same way on every machine, and no sum whose order could vary: the same inputs, in
whatever order, give the same bits anywhere.

    score = reliability × throughput × (0.40 + 0.20 × latency + 0.40 × verification)

    throughput    work while everybody is asked (`validator/full_rounds.py`) ÷ the best eligible miner's
    latency       1 ÷ (time to the first token + 50 ms) of streamed answers in rounds, ÷ the best; answers of
                  one shape are compared, and continuations of what a miner has served before with each other
    verification  (passes + 2) ÷ (passes + fails + 2), over this epoch and the hotkey's last twelve
    reliability   (answered + 2) ÷ (answered + failed + 2), see `validator/reliability.py`

Throughput and latency are bounded by what a miner's other answers say (`validator/paid_speed.py`). In those,
and in reliability, no client weighs more than a share (`validator/client_voices.py`).

Throughput is a factor, not a summand: honest income is proportional to the speed served, and a machine
under several uids, which together do one machine's work while everybody is asked, earns what it earns under
one. What a unit of that work earns depends for 20 % on latency and for 40 % on verification. In a plain sum a
second uid would have earned its latency and verification once more, for nothing.

A miner earns nothing when the sequential test rejected it at any time in the epoch, when at least two
audits of the epoch were decided and all failed, when none ever passed, when it answered nothing, when it
repeated a commitment (`validator/repeated_commitments.py`), when it finished nothing while everybody was
asked or was never among them, or when its hotkey has left the subnet. An epoch in which nothing could be
audited costs an honest miner nothing. Every zero says why.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Annotated

from pydantic import Field

from shared.identifiers import Message, Ss58, Whole
from validator.measurement import EpochInputs, MinerMeasures, Uid, measure_miners
from validator.paid_speed import latencies, paid_rate, throughputs
from validator.probe_findings import ProbeFindings, probe_results
from validator.probe_words import copy_words, idle_words, probe_remarks
from validator.round_times import requests_of
from validator.scoring_config import ScoringConfig
from validator.sequential_test import Standing, explanation, is_rejected

Part = Annotated[float, Field(ge=0, le=1)]


class MinerScore(Message):
    """One hotkey's epoch. Parts are None where the miner was not eligible; `uid` is None once it has left."""

    uid: Uid | None
    hotkey: Ss58
    requests: Whole
    answered: Whole
    failed: Whole
    output_tokens: Whole
    tokens_per_s: float | None
    ttft_ms: float | None
    passes: Whole
    fails: Whole
    inconclusive: Whole
    audit_rate: Part
    log_evidence: Annotated[float, Field(ge=0)]
    """Of the sequential test after the epoch; it rejects from `ScoringConfig.reject_log_evidence`."""
    support: Whole
    throughput: Part | None
    latency: Part | None
    verification: Part | None
    reliability: Part | None
    score: Part
    reasons: tuple[str, ...]


@dataclass(frozen=True)
class _Comparison:
    """Eligible miners side by side, by hotkey; a miner without streamed answers to compare has no latency."""

    throughput: Mapping[str, float]
    latency: Mapping[str, float]


def score(
    inputs: EpochInputs, config: ScoringConfig, probes: ProbeFindings | None = None
) -> list[MinerScore]:
    """Scores from 0 to 1, by uid; hotkeys that have left come last.

    Args:
        probes: what follows from `inputs`, where it is known already.
    """
    found = probes or probe_results(inputs, config).findings
    measured = measure_miners(inputs, config)
    obstacles = {miner.hotkey: _obstacles(miner, found, config) for miner in measured}
    eligible = [miner for miner in measured if not obstacles[miner.hotkey]]
    asked = requests_of(inputs.rounds.rounds)
    compared = _Comparison(throughputs(eligible, found, config), latencies(eligible, asked, config))
    scores = [
        _zero(miner, obstacles[miner.hotkey])
        if obstacles[miner.hotkey]
        else _earned(miner, compared, found, config)
        for miner in measured
    ]
    return sorted(scores, key=lambda one: (one.uid is None, one.uid or 0, one.hotkey))


def _obstacles(miner: MinerMeasures, probes: ProbeFindings, config: ScoringConfig) -> tuple[str, ...]:
    """Why this miner earns nothing; empty when it earns."""
    now = miner.now
    reasons = []
    if miner.uid is None:
        reasons.append("the hotkey is no longer registered on the subnet")
    reasons += _rejection(miner, config)
    if copy := probes.copy_by(miner.hotkey):
        reasons.append(copy_words(copy))
    if not miner.requests:
        reasons.append("no request reached this miner: check that its axon is registered and reachable")
    elif not miner.answered:
        reasons.append(f"none of {miner.requests} requests was answered, {miner.failed} failed")
    elif not miner.output_tokens:
        reasons.append("no answer held a token")
    elif probes.work and not paid_rate(miner.hotkey, probes, config):
        reasons.append(idle_words(probes.work_of(miner.hotkey)))
    elif not now.passes and now.fails >= config.supporting_audits:
        reasons.append(f"all {now.fails} decided audits failed in this epoch")
    elif not now.passes and not miner.earlier.passes:
        reasons.append(f"no audit has passed yet ({now.fails} failed, {now.inconclusive} inconclusive)")
    return tuple(reasons)


def _rejection(miner: MinerMeasures, config: ScoringConfig) -> Iterable[str]:
    """Rejected at any time of the epoch: who cheats early and passes late is not paid for both."""
    stages = [miner.before, *(one.after for one in miner.steps)]
    rejected = [one for one in stages if is_rejected(one, config)]
    if rejected:
        peak = max(rejected, key=lambda one: (one.log_evidence, one.support))
        yield (
            f"the sequential test rejects this hotkey: its evidence stood at {peak.log_evidence:.2f} in this "
            f"epoch, the limit is {config.reject_log_evidence:.2f}, {peak.support} audits support it"
            f"{_explained(peak)}; "
            f"it stands at {miner.after.log_evidence:.2f} now and falls with every audit that passes"
        )


def _explained(standing: Standing) -> str:
    best = explanation(standing)
    return f"; what explains them best is {best}" if best else ""


def _report(miner: MinerMeasures) -> dict[str, object]:
    return {
        "uid": miner.uid,
        "hotkey": miner.hotkey,
        "requests": miner.requests,
        "answered": miner.answered,
        "failed": miner.failed,
        "output_tokens": miner.output_tokens,
        "tokens_per_s": miner.tokens_per_s,
        "ttft_ms": miner.ttft_ms,
        "passes": miner.now.passes,
        "fails": miner.now.fails,
        "inconclusive": miner.now.inconclusive,
        "audit_rate": miner.audit_rate,
        "log_evidence": miner.after.log_evidence,
        "support": miner.after.support,
    }


def _zero(miner: MinerMeasures, reasons: tuple[str, ...]) -> MinerScore:
    parts = dict.fromkeys(("throughput", "latency", "verification", "reliability"))
    return MinerScore.model_validate(_report(miner) | parts | {"score": 0.0, "reasons": reasons})


def _earned(
    miner: MinerMeasures, compared: _Comparison, probes: ProbeFindings, config: ScoringConfig
) -> MinerScore:
    throughput = compared.throughput[miner.hotkey]
    latency = compared.latency.get(miner.hotkey, throughput)
    passes = miner.now.passes + miner.earlier.passes + config.virtual_passes
    verification = passes / (passes + miner.now.fails + miner.earlier.fails)
    unit = config.base_share + config.latency_share * latency + config.verification_share * verification
    return MinerScore.model_validate(
        _report(miner)
        | {
            "throughput": throughput,
            "latency": latency,
            "verification": verification,
            "reliability": miner.reliability,
            "score": min(1.0, miner.reliability * throughput * unit),
            "reasons": (
                *_remarks(miner, compared, bool(probes.work), config),
                *probe_remarks(probes, miner.hotkey),
            ),
        }
    )


def _remarks(
    miner: MinerMeasures, compared: _Comparison, in_rounds: bool, config: ScoringConfig
) -> Iterable[str]:
    """What a miner that earns could do better, in words."""
    throughput, latency = compared.throughput[miner.hotkey], compared.latency.get(miner.hotkey)
    when = "while all miners were asked" if in_rounds else "on answers of the same shape"
    yield f"{when} it had {throughput * 100:.0f} % of the best miner's speed"
    if latency is None:
        yield "no streamed answer to compare in this epoch: latency counts like throughput"
    else:
        yield f"and {latency * 100:.0f} % of the best promptness to the first token"
    if miner.failed:
        yield f"{miner.failed} of {miner.requests} requests failed, or were refused and answered by another"
    fails = miner.now.fails + miner.earlier.fails
    audits = fails + miner.now.passes + miner.earlier.passes
    if fails:
        yield f"{fails} of {audits} audits failed in this epoch and the last {config.history_epochs}"
    if miner.after.log_evidence > 0:
        limit = config.reject_log_evidence
        stands = f"the sequential test stands at {miner.after.log_evidence:.2f}"
        yield f"{stands}; it rejects from {limit:.2f}{_explained(miner.after)}"
    if audits < config.settled_audits:
        yield f"{audits} of {config.settled_audits} audits that settle the pass rate: it is provisional"
