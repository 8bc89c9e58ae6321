"""The auditor's HTTP port: health, metrics, the leaderboard, a miner's audits, epochs, the calibration."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fastapi import FastAPI, HTTPException
from fastapi.responses import FileResponse, JSONResponse, Response
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4
from sqlalchemy.exc import DBAPIError

from shared.build import build_labels
from validator.audit_history import standings
from validator.audit_loop import AuditLoop
from validator.auditor_metrics import AuditorExposition, AuditorFacts
from validator.block_window import BlockWindow
from validator.clock import Clock
from validator.epoch_state import EpochState
from validator.epoch_summary import EpochSummary
from validator.miner_status import EpochAudits, miner_status, probe_status
from validator.request_state import RequestState
from validator.scoring import MinerScore
from validator.scoring_config import ScoringConfig
from validator.sequential_test import NEWCOMER, Standing
from validator.troubles import Troubles
from validator.weight_state import EpochWeights, WeightQueue

LISTED_EPOCHS = 50


@dataclass(frozen=True)
class StatusSources:
    """The parts that the status is read from."""

    hotkey: str
    netuid: int
    model: str
    calibration: Path
    scoring: ScoringConfig
    epochs: EpochState
    requests: RequestState
    weights: WeightQueue
    newest_record_at_ms: Callable[[], int | None]
    audits: AuditLoop
    blocks: BlockWindow
    troubles: Troubles
    clock: Clock
    name: str
    leads: Callable[[], bool]
    leader: Callable[[], str | None]


def build_status_app(sources: StatusSources) -> FastAPI:
    """The application; it only reads."""
    app = FastAPI(title="Constantinople auditor", openapi_url=None, docs_url=None, redoc_url=None)

    @app.get("/health")
    async def health() -> JSONResponse:
        try:
            report = await asyncio.to_thread(_health, sources)
        except DBAPIError as error:
            troubles = sources.troubles.all() | {"database": f"it can't be read: {error}"}
            report = {"status": "degraded", "troubles": troubles}
        return JSONResponse(report, 200 if report["status"] == "ok" else 503)

    exposition = AuditorExposition(build_labels(sources.model, sources.hotkey))

    @app.get("/metrics")
    async def metrics() -> Response:
        facts = await asyncio.to_thread(_facts, sources)
        return Response(exposition.text(facts), media_type=CONTENT_TYPE_PLAIN_0_0_4)

    @app.get("/scores")
    async def scores() -> JSONResponse:
        return JSONResponse(await asyncio.to_thread(_leaderboard, sources))

    @app.get("/miners/{hotkey}")
    async def miner(hotkey: str) -> JSONResponse:
        return JSONResponse(await asyncio.to_thread(_miner, sources, hotkey))

    @app.get("/epochs")
    async def epochs() -> JSONResponse:
        return JSONResponse(await asyncio.to_thread(_epochs, sources.epochs))

    @app.get("/epochs/{number}")
    async def epoch(number: int) -> Response:
        sealed = await asyncio.to_thread(sources.epochs.sealed, number)
        if sealed is None:
            raise HTTPException(404, f"epoch {number} is not sealed here; /epochs lists those that are")
        return Response(sealed.data, media_type="application/json")

    @app.get("/auditors")
    async def auditors() -> JSONResponse:
        return JSONResponse(await asyncio.to_thread(_auditors, sources))

    @app.get("/calibration")
    async def calibration() -> FileResponse:
        return FileResponse(sources.calibration, media_type="application/octet-stream")

    return app


def _health(sources: StatusSources) -> dict[str, Any]:
    troubles = sources.troubles.all()
    newest, current = sources.blocks.newest, sources.epochs.in_phase("open")
    sealed = sources.epochs.sealed()
    return {
        "status": "degraded" if troubles else "ok",
        "troubles": troubles,
        "hotkey": sources.hotkey,
        "netuid": sources.netuid,
        "model": sources.model,
        "auditor": sources.name,
        "leads": sources.leads(),
        "epoch": current.number if current else None,
        "epoch_ends_at_ms": current.ends_at_ms if current else None,
        "last_epoch": sealed.number if sealed else None,
        "last_epoch_phase": sealed.phase if sealed else None,
        "last_record_at_ms": sources.newest_record_at_ms(),
        "last_audit_at_ms": sources.audits.newest_audit_at_ms,
        "chain_block": newest.number if newest else None,
        "chain_lag_ms": max(0, sources.clock() - newest.timestamp_ms) if newest else None,
        "weights": _weights(sources.weights.newest()),
    }


def _facts(sources: StatusSources) -> AuditorFacts:
    """What /metrics shows, as it is now."""
    now_ms, newest = sources.clock(), sources.blocks.newest
    current = sources.epochs.in_phase("open")
    own, weights = sources.audits.neuron(sources.hotkey), sources.weights.newest()
    phases = [one.phase for one in sources.epochs.list(LISTED_EPOCHS)]
    return AuditorFacts(
        now_ms=now_ms,
        epoch=current.number if current else None,
        epoch_ends_at_ms=current.ends_at_ms if current else None,
        epochs_closing=phases.count("closing"),
        epochs_unpublished=phases.count("scored"),
        audits=dict(sources.audits.ended),
        audits_running=sources.audits.running,
        audits_waiting=sources.audits.waiting,
        requests_undrawn=sources.requests.count_undrawn(current.number) if current else 0,
        newest_record_at_ms=sources.newest_record_at_ms(),
        newest_audit_at_ms=sources.audits.newest_audit_at_ms,
        block=newest.number if newest else None,
        block_at_ms=newest.timestamp_ms if newest else None,
        weights_set_at_block=own.last_update if own and own.last_update else None,
        weights_waiting=weights is not None and weights.state in ("pending", "sending"),
        permit=own is not None and own.validator_permit,
        troubles=tuple(sources.troubles.all()),
    )


def _weights(weights: EpochWeights | None) -> dict[str, Any] | None:
    if weights is None:
        return None
    return {"epoch": weights.epoch, "state": weights.state, "detail": weights.detail}


def _leaderboard(sources: StatusSources) -> dict[str, Any]:
    """Scores of the newest sealed epoch, best first; `epoch` is None before the first."""
    sealed = sources.epochs.sealed()
    if sealed is None:
        return {"epoch": None, "closed_at_ms": None, "scores": [], "weights": None}
    summary = sealed.summary()
    return {
        "epoch": summary.epoch,
        "closed_at_ms": summary.closed_at_ms,
        "digest": sealed.digest,
        "scores": [_row(one, summary) for one in sorted(summary.scores, key=lambda one: -one.score)],
        "weights": _weights(sources.weights.newest()),
    }


def _row(score: MinerScore, summary: EpochSummary) -> dict[str, Any]:
    weights = {one.uid: one.weight for one in summary.weights}
    return {
        "uid": score.uid,
        "hotkey": score.hotkey,
        "requests": score.requests,
        "failed": score.failed,
        "tokens_per_s": score.tokens_per_s,
        "ttft_ms": score.ttft_ms,
        "audits": {"pass": score.passes, "fail": score.fails, "inconclusive": score.inconclusive},
        "audit_rate": score.audit_rate,
        "log_evidence": score.log_evidence,
        "score": score.score,
        "weight": weights.get(score.uid, 0) if score.uid is not None else 0,
        "reasons": list(score.reasons),
    }


def _miner(sources: StatusSources, hotkey: str) -> dict[str, Any]:
    """The sequential test of one hotkey, audit by audit, from the newest sealed epoch on."""
    sealed = sources.epochs.sealed()
    before: dict[str, Standing] = standings(sealed.summary().history) if sealed else {}
    first = sealed.number if sealed else 0
    recent = [one for one in reversed(sources.epochs.list(LISTED_EPOCHS)) if one.number >= first]
    audits = [
        EpochAudits(one.number, one.phase, sources.requests.verdicts(one.number, hotkey)) for one in recent
    ]
    status = miner_status(hotkey, before.get(hotkey, NEWCOMER), audits, sources.scoring)
    return status | {"probes": probe_status(hotkey, sealed.summary().probes) if sealed else None}


def _auditors(sources: StatusSources) -> dict[str, Any]:
    """Who leads the auditors that share the database, and how many audits of recent epochs each has made."""
    newest = sources.epochs.newest_published()
    first = newest.number if newest else 0
    recent = [one.number for one in reversed(sources.epochs.list(LISTED_EPOCHS)) if one.number >= first]
    return {
        "auditor": sources.name,
        "leader": sources.leader(),
        "epochs": [{"epoch": number, "audits": sources.requests.audits_by(number)} for number in recent],
    }


def _epochs(epochs: EpochState) -> dict[str, Any]:
    return {
        "epochs": [
            {"epoch": one.number, "phase": one.phase, "opened_at_ms": one.opened_at_ms}
            for one in epochs.list(LISTED_EPOCHS)
        ]
    }
