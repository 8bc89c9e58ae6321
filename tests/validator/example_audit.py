"""An audit of the example miner over real HTTP."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

from shared.canonical import canonical_json
from shared.chain import Block
from shared.challenges import OpenAnswer, OpenRequest, ReplayAnswer, ReplayRequest, parse_challenge
from shared.records import RequestRecord
from tests.models import TINY_MODEL
from tests.shared.keys import VALIDATOR
from tests.validator.example_calibration import tiny_calibration
from tests.validator.example_miner import FINISHED_AT_MS, ExampleMiner
from tests.validator.example_model import answer_checks, reference
from tests.validator.scripted_http import SeenRequest, response, scripted_server
from validator.audit import Auditor, ConfirmBlame
from validator.miner_client import MinerClient, http_client
from validator.reference_worker import LoadReference, ReferenceWorker
from validator.verdicts import Evidence, Statistic, Verdict

BLOCK = Block(77, "0x" + "5a" * 32, FINISHED_AT_MS + 6_000)
AUDITED_AT_MS = FINISHED_AT_MS + 9_000

Answering = Callable[[OpenRequest | ReplayRequest], OpenAnswer | ReplayAnswer | bytes]


async def no_doubt() -> None:
    """The auditor's own side is in order."""


async def no_pause(_: float) -> None:
    """Retries follow at once."""


@asynccontextmanager
async def auditor(
    confirm_blame: ConfirmBlame = no_doubt, load: LoadReference = reference
) -> AsyncIterator[Auditor]:
    """An auditor of the tiny model."""
    worker = ReferenceWorker(load)
    async with http_client() as http:
        client = MinerClient(VALIDATOR, http, allow_local=True, sleep=no_pause)
        yield Auditor(
            client,
            worker,
            answer_checks(),
            tiny_calibration(),
            TINY_MODEL,
            lambda: AUDITED_AT_MS,
            confirm_blame,
        )
    worker.close()


def answering(miner: ExampleMiner) -> Answering:
    """Answers challenges as this miner does."""

    def answer(challenge: OpenRequest | ReplayRequest) -> OpenAnswer | ReplayAnswer:
        return miner.open(challenge) if isinstance(challenge, OpenRequest) else miner.replay(challenge)

    return answer


async def verdict_on(record: RequestRecord, answer: Answering, **options: Any) -> Verdict:
    """The verdict of an audit whose challenges `answer` answers."""

    async def script(request: SeenRequest, writer: asyncio.StreamWriter) -> None:
        given = answer(parse_challenge(request.body))
        writer.write(given if isinstance(given, bytes) else response(200, canonical_json(given)))

    async with scripted_server(script) as server, auditor(**options) as audits:
        return (await audits.audit(record, server.axon, BLOCK)).verdict


def statistic(verdict: Verdict, name: Statistic) -> Evidence:
    """One of a verdict's statistics."""
    return next(one for one in verdict.evidence if one.statistic == name)


def assert_passes(verdict: Verdict) -> None:
    assert (verdict.outcome, verdict.check) == ("pass", "all"), verdict.reason


def assert_fails(verdict: Verdict, check: str) -> None:
    assert (verdict.outcome, verdict.check) == ("fail", check), verdict.reason
    assert verdict.log_e > 0
