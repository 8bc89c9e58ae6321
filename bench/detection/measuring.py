"""One row measured: a real miner serves, the real auditor audits every answer."""

import asyncio
import hashlib
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path

import httpx

from bench.detection.requests import in_waves
from bench.detection.rows import Row
from localnet.roles import role_model
from shared.calibration import Calibration
from shared.chain import Block
from shared.errors import ModelError
from shared.records import RequestRecord
from validator.answer_checks import AnswerChecks
from validator.audit import Auditor
from validator.calibration_conditions import available_conditions, named_conditions
from validator.calibration_miner import MINER_PROGRAM, StartedMiner, running_miner
from validator.calibration_requests import NoiseRequest
from validator.calibration_traffic import MinerTraffic
from validator.clock import unix_ms
from validator.miner_client import MinerClient, http_client
from validator.reference_worker import ReferenceWorker
from validator.verdicts import Verdict

CONCURRENT_AUDITS = 4
CONCURRENT_WAVES = 2
"""Waves under way at once, so that the longest answer of one does not leave the engine idle."""

TOLD_EVERY = 50

Say = Callable[[str], None]


@dataclass(frozen=True)
class Laboratory:
    """What all rows share."""

    model: Path
    models: Path
    calibration: Calibration
    calibration_file: Path
    reference: ReferenceWorker
    checks: AnswerChecks
    logs: Path


@dataclass
class Measured:
    """What a row's requests came to; `unanswered` never reached an audit."""

    verdicts: list[Verdict]
    unanswered: int


async def measure(
    laboratory: Laboratory,
    row: Row,
    requests: Sequence[NoiseRequest],
    measured: Measured,
    keep: Callable[[Measured], None],
    say: Say,
) -> None:
    """Start the row's miner, send it the requests in waves, audit the answers while others are served.

    Args:
        measured: what is known of the row; what is measured is added to it.
        keep: called with it now and then, and in the end.

    Raises:
        ModelError: the miner did not start.
    """
    model = role_model(row.role, laboratory.model, laboratory.models)
    condition = named_conditions(row.condition, available_conditions(str(laboratory.model)))[0]
    program = (
        (sys.executable, "-m", "localnet.cheating_miner", "--cheat", row.role.behaviour)
        if row.role.behaviour
        else MINER_PROGRAM
    )
    log_file = laboratory.logs / f"{row.name}.log"
    async with AsyncExitStack() as stack:
        started = time.monotonic()
        miner = await stack.enter_async_context(
            running_miner(str(model), laboratory.calibration_file, condition, log_file, program)
        )
        http = await stack.enter_async_context(http_client())
        say(f"{row.name}: the miner is up after {time.monotonic() - started:.0f} s")
        try:
            await _audit_all(laboratory, row, miner, http, requests, measured, keep, say)
        finally:
            keep(measured)


async def _audit_all(
    laboratory: Laboratory,
    row: Row,
    miner: StartedMiner,
    http: httpx.AsyncClient,
    requests: Sequence[NoiseRequest],
    measured: Measured,
    keep: Callable[[Measured], None],
    say: Say,
) -> None:
    traffic = MinerTraffic(http, miner.caller, miner.url, miner.hotkey, unix_ms)
    auditor = Auditor(
        MinerClient(miner.caller, http, allow_local=True),
        laboratory.reference,
        laboratory.checks,
        laboratory.calibration,
        laboratory.calibration.header.model,
        unix_ms,
        _nobody_else_to_blame,
    )
    axon = miner.url.removeprefix("http://")
    waves, audits = asyncio.Semaphore(CONCURRENT_WAVES), asyncio.Semaphore(CONCURRENT_AUDITS)

    async def serve_and_audit(wave: Sequence[NoiseRequest]) -> None:
        async with waves:
            answers = await asyncio.gather(*(traffic.ask(one) for one in wave), return_exceptions=True)
        records = [one for one in answers if isinstance(one, RequestRecord)]
        for error in _unanswered(answers):
            measured.unanswered += 1
            say(f"{row.name}: {error}")
        for verdict in asyncio.as_completed([_audit(auditor, one, axon, audits) for one in records]):
            measured.verdicts.append(await verdict)
            if len(measured.verdicts) % TOLD_EVERY == 0:
                keep(measured)
                say(f"{row.name}: {len(measured.verdicts)} audited")

    await asyncio.gather(*(serve_and_audit(wave) for wave in in_waves(requests, len(requests))))


def _unanswered(answers: Sequence[RequestRecord | BaseException]) -> list[ModelError]:
    """Why requests were not answered; what is no fault of the miner's is raised."""
    errors = [one for one in answers if isinstance(one, BaseException)]
    for error in errors:
        if not isinstance(error, ModelError):
            raise error
    return [error for error in errors if isinstance(error, ModelError)]


async def _audit(auditor: Auditor, record: RequestRecord, axon: str, turn: asyncio.Semaphore) -> Verdict:
    async with turn:
        return (await auditor.audit(record, axon, _block_after(record))).verdict


def _block_after(record: RequestRecord) -> Block:
    """A block whose hash the miner could not know: derived from the answer's end, as a chain would."""
    digest = hashlib.sha256(f"bench.detection|{record.request_id}".encode()).hexdigest()
    return Block(
        number=record.finished_at_ms // 12_000, hash=f"0x{digest}", timestamp_ms=record.finished_at_ms + 1
    )


async def _nobody_else_to_blame() -> None:
    """The miner is on this machine: there is no network whose fault an unanswered challenge could be."""
