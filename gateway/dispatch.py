"""Serving one request: choose a miner, relay and record its answer, try another if nothing was sent yet."""

import asyncio
import uuid
from collections.abc import Callable, Mapping, Sequence

from gateway.answer_provenance import last_event, whole_answer
from gateway.attempt import Attempt
from gateway.client_connection import Response
from gateway.client_request import SEED_LIMIT, ClientRequest
from gateway.clock import Clock
from gateway.errors import (
    ApiError,
    MinerFailure,
    MinerRefusal,
    miners_failed,
    named_miner_unavailable,
    no_miner_available,
    refused_by_miner,
)
from gateway.event_stream import DONE_EVENT
from gateway.miners import KnownMiner, MinerTable
from gateway.recording import Recorder
from gateway.relay import StreamRelay, take_whole_answer
from gateway.routing import RandomSource, can_be_next, choose
from gateway.upstream import MinerAnswer, MinerClient
from gateway.visit import Visit
from shared.records import Outcome

MAX_RETRIES = 2

RETRY_DEADLINE_S = 90.0
"""No attempt begins later than this after the first: one that hung for a minute leaves room for another."""

MAX_REFUSALS = 2
"""A miner's word that the request is wrong is believed when a second one says so too."""

PAID: frozenset[Outcome] = frozenset({"answered", "client_left"})
"""Outcomes whose tokens count as used by the client: what a miner broke off costs it nothing."""


def _new_request_id() -> str:
    return uuid.uuid4().hex


class Dispatcher:
    """Serves requests with the miners of a table."""

    def __init__(
        self,
        model: str,
        gateway_hotkey: str,
        table: MinerTable,
        miners: MinerClient,
        recorder: Recorder,
        clock: Clock,
        random: RandomSource,
        new_request_id: Callable[[], str] = _new_request_id,
    ) -> None:
        self._model, self._gateway_hotkey = model, gateway_hotkey
        self._table, self._miners, self._recorder = table, miners, recorder
        self._clock, self._random, self._new_request_id = clock, random, new_request_id

    async def serve(
        self, request: ClientRequest, response: Response, visit: Visit, miner_hotkey: str | None = None
    ) -> None:
        """Answer `request`; every attempt has the client's seed, or the same fresh one.

        Args:
            visit: whose request it is; told of what it uses.
            miner_hotkey: the only miner that may serve it, once; None leaves the choice to routing.

        Raises:
            ApiError: no miner answered, or the answer could not be recorded.
        """
        self._recorder.check()
        seed = self._random.randrange(SEED_LIMIT) if request.seed is None else request.seed
        started_s = self._clock.monotonic_s()
        tried = set() if miner_hotkey is None else self._all_but(miner_hotkey)
        failures: list[MinerFailure] = []
        headers: Mapping[str, str] = {}
        first_id: str | None = None
        while worth_another(failures, self._clock.monotonic_s() - started_s):
            miner = self._choose(tried)
            if miner is None:
                break
            tried.add(miner.hotkey)
            request_id = self._new_request_id()
            first_id = first_id or request_id
            attempt = Attempt(request, miner, request_id, first_id, visit, seed, self._clock)
            try:
                return await self._try(attempt, response)
            except MinerFailure as failure:
                failures.append(failure)
                headers = attempt.headers()
                if response.started:
                    break
        error = error_for(failures) if failures else no_miner_available(self._model)
        raise error.with_headers(headers)

    def _all_but(self, hotkey: str) -> set[str]:
        """The hotkeys of all other miners.

        Raises:
            ApiError: 503; the one that is left can't be called, or rests after a failure.
        """
        known = {miner.hotkey: miner for miner in self._table.all()}
        miner = known.get(hotkey)
        if miner is None:
            raise named_miner_unavailable("this gateway knows no miner of that hotkey")
        if not miner.callable:
            raise named_miner_unavailable(miner.why_not_callable)
        if not can_be_next(miner.uid, self._table.loads(without=()), self._clock.monotonic_s()):
            raise named_miner_unavailable("it rests after a failure")
        return set(known) - {hotkey}

    def _choose(self, tried: set[str]) -> KnownMiner | None:
        chosen = choose(self._table.loads(without=tried), self._clock.monotonic_s(), self._random)
        return None if chosen is None else self._table.get(chosen.uid)

    async def _try(self, attempt: Attempt, response: Response) -> None:
        request = attempt.request
        attempt.miner.begin(self._clock.monotonic_s())
        first_event_until_s = asyncio.get_running_loop().time() + self._miners.timeouts.first_event_s
        try:
            async with self._miners.post(attempt.miner, request.path, attempt.body, request.stream) as answer:
                attempt.http_status = 200
                if request.stream:
                    await self._stream(attempt, answer, response, first_event_until_s)
                else:
                    await self._whole(attempt, answer, response)
        except BaseException as error:
            if isinstance(error, MinerFailure) and error.http_status is not None:
                attempt.http_status = error.http_status
            if not attempt.concluded:
                self._conclude(attempt, *outcome_of(error))
            raise

    async def _stream(
        self, attempt: Attempt, answer: MinerAnswer, response: Response, first_event_until_s: float
    ) -> None:
        relay = StreamRelay(attempt, answer, response)
        await relay.run(self._miners.timeouts, first_event_until_s)
        self._conclude(attempt, "answered", None)
        await response.end_events(last_event(attempt) + DONE_EVENT)
        await answer.finish()

    async def _whole(self, attempt: Attempt, answer: MinerAnswer, response: Response) -> None:
        payload = await take_whole_answer(attempt, answer)
        self._conclude(attempt, "answered", None)
        await response.send_json(200, *whole_answer(attempt, payload))

    def _conclude(self, attempt: Attempt, outcome: Outcome, error: str | None) -> None:
        """Note how the attempt went, and write its record: before the client sees the end of the answer."""
        attempt.miner.end()
        if outcome == "answered":
            attempt.miner.succeeded()
        elif outcome == "failed":
            attempt.miner.failed(self._clock.monotonic_s())
        if outcome in PAID:
            attempt.visit.brought(attempt.tally.prompt_tokens, attempt.tally.output_tokens)
        self._recorder.write(attempt.record(outcome, error, self._gateway_hotkey))


def outcome_of(error: BaseException) -> tuple[Outcome, str | None]:
    """What an attempt that ended with `error` is recorded as.

    A cancelled attempt is the client's leaving or the gateway's own end: not the miner's doing.
    """
    if isinstance(error, MinerRefusal):
        return "refused", str(error)
    if isinstance(error, MinerFailure):
        return "failed", str(error)
    if isinstance(error, asyncio.CancelledError):
        return "client_left", None
    return "client_left", f"the gateway itself failed: {type(error).__name__}"


def worth_another(failures: Sequence[MinerFailure], elapsed_s: float) -> bool:
    """Whether another miner should be tried after these failures of others."""
    refusals = sum(isinstance(failure, MinerRefusal) for failure in failures)
    return len(failures) <= MAX_RETRIES and refusals < MAX_REFUSALS and elapsed_s < RETRY_DEADLINE_S


def error_for(failures: Sequence[MinerFailure]) -> ApiError:
    """What the client is told: what is wrong with its request, if a miner said that, or the last failure."""
    for failure in reversed(failures):
        if isinstance(failure, MinerRefusal):
            return refused_by_miner(failure)
    return miners_failed(str(failures[-1]))
