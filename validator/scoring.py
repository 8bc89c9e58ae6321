"""Scores of an epoch: a pure function of what is published, so that anyone can repeat it.

No clock, network or random source. Only counting, sorting and the IEEE 754 operations + − × ÷, which
are rounded the same way on every machine, and no sum of more than a handful of floats: the same inputs,
in whatever order, give the same bits anywhere.

    score = reliability × (0.4 × throughput + 0.2 × latency + 0.4 × verification)

    throughput    median of output tokens / second over answered requests, ÷ the best eligible miner's
    latency       (best median time to first token + 50 ms) ÷ (own + 50 ms)
    verification  (passes + 2) ÷ (passes + fails + 2), over this epoch and the hotkey's last twelve
    reliability   (answered + 2) ÷ (answered + failed + 2)

A miner earns nothing when an audit rule gates it, when no audit of this epoch passed, when it answered
nothing, or when its hotkey has left the subnet. Every zero says why.
"""

from collections.abc import Iterable
from typing import Annotated

from pydantic import Field

from shared.identifiers import Message, Ss58
from validator.measurement import EpochInputs, MinerMeasures, Uid, measure_miners
from validator.scoring_config import ScoringConfig

Part = Annotated[float, Field(ge=0, le=1)]


class MinerScore(Message):
    """One hotkey's epoch. Parts are None where the miner was not eligible; `uid` is None once it has left."""

    uid: Uid | None
    hotkey: Ss58
    requests: int
    answered: int
    failed: int
    output_tokens: int
    tokens_per_s: float | None
    ttft_ms: float | None
    passes: int
    fails: int
    inconclusive: int
    throughput: Part | None
    latency: Part | None
    verification: Part | None
    reliability: Part | None
    score: Part
    reasons: tuple[str, ...]


def score(inputs: EpochInputs, config: ScoringConfig) -> list[MinerScore]:
    """Scores from 0 to 1, by uid; hotkeys that have left come last."""
    measured = measure_miners(inputs, config)
    obstacles = {miner.hotkey: _obstacles(miner, config) for miner in measured}
    eligible = [miner for miner in measured if not obstacles[miner.hotkey]]
    best_speed = max((miner.tokens_per_s or 0.0 for miner in eligible), default=0.0)
    best_ttft = min((miner.ttft_ms for miner in eligible if miner.ttft_ms is not None), default=None)
    scores = [
        _zero(miner, obstacles[miner.hotkey])
        if obstacles[miner.hotkey]
        else _earned(miner, best_speed, best_ttft, config)
        for miner in measured
    ]
    return sorted(scores, key=lambda one: (one.uid is None, one.uid or 0, one.hotkey))


def _gated(passes: int, fails: int, config: ScoringConfig) -> bool:
    return fails >= config.gate_fails and fails > config.gate_fail_share * (passes + fails)


def _obstacles(miner: MinerMeasures, config: ScoringConfig) -> tuple[str, ...]:
    """Why this miner earns nothing; empty when it earns."""
    now, all_passes = miner.now, miner.now.passes + miner.earlier.passes
    all_fails = miner.now.fails + miner.earlier.fails
    limit = f"the limit is {config.gate_fail_share * 100:g} %"
    reasons = []
    if miner.uid is None:
        reasons.append("the hotkey is no longer registered on the subnet")
    if _gated(now.passes, now.fails, config):
        reasons.append(f"{now.fails} of {now.passes + now.fails} audits failed in this epoch; {limit}")
    elif _gated(all_passes, all_fails, config):
        reasons.append(
            f"{all_fails} of {all_passes + all_fails} audits failed in this epoch "
            f"and the last {config.history_epochs}; {limit}"
        )
    if not miner.requests:
        reasons.append("no request reached this miner: check that its axon is registered and reachable")
    elif not miner.answered:
        reasons.append(f"none of {miner.requests} requests was answered, {miner.failed} failed")
    elif not now.passes:
        reasons.append(f"no audit passed in this epoch ({now.fails} failed, {now.inconclusive} inconclusive)")
    elif not miner.output_tokens:
        reasons.append("no answer held a token")
    return tuple(reasons)


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
    }


def _zero(miner: MinerMeasures, reasons: tuple[str, ...]) -> MinerScore:
    parts = dict.fromkeys(("throughput", "latency", "verification", "reliability"))
    return MinerScore.model_validate(_report(miner) | parts | {"score": 0.0, "reasons": reasons})


def _earned(
    miner: MinerMeasures, best_speed: float, best_ttft: float | None, config: ScoringConfig
) -> MinerScore:
    throughput = (miner.tokens_per_s or 0.0) / best_speed if best_speed else 0.0
    latency = throughput
    if miner.ttft_ms is not None and best_ttft is not None:
        latency = (best_ttft + config.ttft_softening_ms) / (miner.ttft_ms + config.ttft_softening_ms)
    passes = miner.now.passes + miner.earlier.passes + config.virtual_passes
    verification = passes / (passes + miner.now.fails + miner.earlier.fails)
    answers = miner.answered + config.virtual_answers
    reliability = answers / (answers + miner.failed)
    weighted = (
        config.throughput_share * throughput
        + config.latency_share * latency
        + config.verification_share * verification
    )
    return MinerScore.model_validate(
        _report(miner)
        | {
            "throughput": throughput,
            "latency": latency,
            "verification": verification,
            "reliability": reliability,
            "score": min(1.0, reliability * weighted),
            "reasons": tuple(_remarks(miner, best_speed, best_ttft, config)),
        }
    )


def _remarks(
    miner: MinerMeasures, best_speed: float, best_ttft: float | None, config: ScoringConfig
) -> Iterable[str]:
    """What a miner that earns could do better, in words."""
    yield f"median {miner.tokens_per_s or 0.0:.1f} tokens/s; the best has {best_speed:.1f}"
    if miner.ttft_ms is not None and best_ttft is not None:
        yield f"median {miner.ttft_ms:.0f} ms to the first token; the best has {best_ttft:.0f}"
    else:
        yield "no streamed answer in this epoch: latency counts like throughput"
    if miner.failed:
        yield f"{miner.failed} of {miner.requests} requests failed"
    fails = miner.now.fails + miner.earlier.fails
    audits = fails + miner.now.passes + miner.earlier.passes
    if fails:
        yield f"{fails} of {audits} audits failed in this epoch and the last {config.history_epochs}"
    if audits < config.settled_audits:
        yield f"{audits} of {config.settled_audits} audits that settle the pass rate: it is provisional"
