"""Serving one request: choose a miner, relay and record its answer, try another if nothing was sent yet."""

import asyncio
import uuid
from collections.abc import Callable, Sequence

from gateway.affinity import Affinity
from gateway.answer_provenance import last_event, name_receipt
from gateway.attempt import Attempt
from gateway.client_connection import Response
from gateway.client_request import SEED_LIMIT, ClientRequest
from gateway.clock import Clock
from gateway.errors import ApiError, MinerFailure, MinerRefusal, miners_failed, refused_by_miner
from gateway.event_stream import DONE_EVENT
from gateway.hedging import Entry, Hedging, Race
from gateway.miner_choice import MinerChoice, Place
from gateway.miners import MinerTable
from gateway.recording import Recorder
from gateway.relay import StreamRelay, take_whole_answer
from gateway.routing import RandomSource
from gateway.routing_refusals import miners_overloaded
from gateway.serving import Bounds, Serving
from gateway.upstream import MinerAnswer, MinerClient
from gateway.visit import Visit
from gateway.waiting_line import WaitingLine
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
    """Serves requests with the miners of a table.

    Attributes:
        line: the requests that wait for a miner.
    """

    def __init__(
        self,
        model: str,
        gateway_hotkey: str,
        table: MinerTable,
        miners: MinerClient,
        recorder: Recorder,
        clock: Clock,
        random: RandomSource,
        bounds: Bounds,
        new_request_id: Callable[[], str] = _new_request_id,
    ) -> None:
        self._gateway_hotkey, self._miners, self._recorder = gateway_hotkey, miners, recorder
        self._clock, self._random, self._new_request_id = clock, random, new_request_id
        self._choice = MinerChoice(model, table, Affinity(), clock, random, bounds.miner_concurrency)
        self._hedging = Hedging(clock) if bounds.hedge else None
        self.line = WaitingLine(bounds.max_waiting, bounds.waiting_s)

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
        wish = self._choice.wish(request, visit.pseudonym, miner_hotkey)
        serving = Serving(request, wish, visit, seed)
        started_s = self._clock.monotonic_s()
        while worth_another(serving.failures, self._clock.monotonic_s() - started_s):
            try:
                place = await self.line.place(
                    lambda: self._choice.take(wish, serving.tried),
                    lambda miner: self._choice.could_use(miner, wish, serving.tried),
                )
            except ApiError as error:
                told = error_for(serving.failures) if serving.failures else error
                raise told.with_headers(serving.headers) from None
            failures = await self._run(self._attempt(serving, place), serving, response)
            if not failures:
                return
            serving.failures += failures
            if response.started:
                break
        raise error_for(serving.failures).with_headers(serving.headers)

    def _attempt(self, serving: Serving, place: Place) -> Attempt:
        request_id = self._new_request_id()
        serving.first_id = serving.first_id or request_id
        serving.tried.add(place.miner.hotkey)
        attempt = Attempt(
            serving.request, place, request_id, serving.first_id, serving.visit, serving.seed, self._clock
        )
        serving.headers = attempt.headers()
        return attempt

    async def _run(self, attempt: Attempt, serving: Serving, response: Response) -> list[MinerFailure]:
        """Make the attempt, and a second one beside it if it is slow: the failures, none if one answered."""
        after_s = self._hedging.after_s(attempt, serving.wish) if self._hedging else None
        if after_s is None:
            try:
                await self._try(attempt, serving, response)
            except MinerFailure as failure:
                return [failure]
            return []
        race = Race(response)
        return await race.run(self._entry(attempt, serving), lambda: self._second(attempt, serving), after_s)

    def _second(self, slow: Attempt, serving: Serving) -> Entry | None:
        """An attempt at another miner that has room, beside a slow one."""
        try:
            place = self._choice.take(serving.wish, serving.tried)
        except ApiError:
            return None
        if place is None:
            return None
        slow.miner.hedged.add(self._clock.monotonic_s())
        return self._entry(self._attempt(serving, place), serving)

    def _entry(self, attempt: Attempt, serving: Serving) -> Entry:
        return Entry(
            attempt,
            run=lambda response: self._try(attempt, serving, response),
            call_off=lambda: self._conclude(attempt, serving, asyncio.CancelledError()),
        )

    async def _try(self, attempt: Attempt, serving: Serving, response: Response) -> None:
        request = attempt.request
        first_event_until_s = asyncio.get_running_loop().time() + self._miners.timeouts.first_event_s
        try:
            async with self._miners.post(attempt.miner, request.path, attempt.body, request.stream) as answer:
                attempt.http_status = 200
                if request.stream:
                    await self._stream(attempt, serving, answer, response, first_event_until_s)
                else:
                    await self._whole(attempt, serving, answer, response)
        except BaseException as error:
            if isinstance(error, MinerFailure) and error.http_status is not None:
                attempt.http_status = error.http_status
            if not attempt.concluded:
                self._conclude(attempt, serving, error)
            raise

    async def _stream(
        self,
        attempt: Attempt,
        serving: Serving,
        answer: MinerAnswer,
        response: Response,
        first_event_until_s: float,
    ) -> None:
        relay = StreamRelay(attempt, answer, response)
        await relay.run(self._miners.timeouts, first_event_until_s)
        self._conclude(attempt, serving, None)
        await response.end_events(last_event(attempt) + DONE_EVENT)
        await answer.finish()

    async def _whole(
        self, attempt: Attempt, serving: Serving, answer: MinerAnswer, response: Response
    ) -> None:
        payload = await take_whole_answer(attempt, answer)
        headers = name_receipt(attempt, payload)
        body = response.answer_body(attempt.request_id, payload)
        self._conclude(attempt, serving, None)
        await response.send_json(200, body, headers)

    def _conclude(self, attempt: Attempt, serving: Serving, error: BaseException | None) -> None:
        """Note how the attempt went, and write its record: before the client sees the end of the answer.

        Args:
            error: what it ended with; None when the whole answer is there.
        """
        outcome, words = ("answered", None) if error is None else outcome_of(error)
        self._learn(attempt, serving, outcome, error)
        if outcome in PAID and not attempt.outrun:
            attempt.visit.brought(attempt.tally.prompt_tokens, attempt.tally.output_tokens)
        self._recorder.write(attempt.record(outcome, words, self._gateway_hotkey))

    def _learn(
        self, attempt: Attempt, serving: Serving, outcome: Outcome, error: BaseException | None
    ) -> None:
        """What routing learns from the attempt; whoever waits for its miner may go on."""
        miner, entered, now_s = attempt.miner, attempt.place.entered, self._clock.monotonic_s()
        miner.end()
        if outcome == "answered":
            miner.succeeded(entered, now_s)
            answer = attempt.measured(serving.wish.band)
            self._choice.answered(serving.wish, attempt.place, answer)
            if self._hedging:
                self._hedging.note(answer)
        elif isinstance(error, MinerFailure) and error.wait_s is not None:
            miner.breaker.overloaded(entered, now_s, error.wait_s)
        elif outcome == "failed":
            miner.failed(entered, now_s)
        else:
            miner.breaker.told_nothing(entered)
        self.line.freed(miner)


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
    """What the client is told: what is wrong with its request, if a miner said that, that all are overloaded,
    or the last failure."""
    for failure in reversed(failures):
        if isinstance(failure, MinerRefusal):
            return refused_by_miner(failure)
    waits_s = [failure.wait_s for failure in failures if failure.wait_s is not None]
    if len(waits_s) == len(failures):
        return miners_overloaded(min(waits_s))
    return miners_failed(str(failures[-1]))
