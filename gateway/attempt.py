"""One attempt at one miner, and the record of it."""

from collections.abc import Mapping
from typing import Any

from gateway.client_request import ClientRequest, miner_body
from gateway.clock import Clock
from gateway.metering import Tally
from gateway.miner_choice import MOSTLY_FAMILIAR, Place
from gateway.pace import Measured
from gateway.requested_tokens import choices_of_all
from gateway.visit import Visit
from shared.answer_text import text_place
from shared.inference_paths import CHAT_PATH
from shared.records import Outcome, RequestRecord


class Attempt:
    """What was sent to whom, and what has come back so far.

    Attributes:
        request_id: this attempt's own; a retry has another, so that each commitment is unambiguous.
        client_request: the id of the first attempt at the same client's request, its own if it is the first.
        visit: whose request it is; miners are not told.
        body: the bytes that are sent to the miner.
        tally: token ids received.
        receipt: the miner's receipt, not checked; None until it comes.
        started_at_ms: when it began, in Unix time.
        concluded: whether its record has been made.
        outrun: whether another attempt at the same request was faster, and this one called off.
    """

    def __init__(
        self,
        request: ClientRequest,
        place: Place,
        request_id: str,
        client_request: str,
        visit: Visit,
        seed: int,
        clock: Clock,
    ) -> None:
        self.request, self.place, self.miner = request, place, place.miner
        self.request_id, self.client_request, self.visit = request_id, client_request, visit
        self.body = miner_body(request, request_id, seed)
        self.tally = Tally(text_place(request.path == CHAT_PATH, request.stream))
        self.receipt: dict[str, Any] | None = None
        self.http_status: int | None = None
        self.concluded = self.outrun = False
        self._clock = clock
        self._started_s, self.started_at_ms = clock.monotonic_s(), clock.unix_ms()
        self._last_received_s = self._started_s

    def received(self) -> float:
        """Note that bytes have come; gives the moment, on the monotonic clock."""
        self._last_received_s = self._clock.monotonic_s()
        return self._last_received_s

    def headers(self) -> Mapping[str, str]:
        """What the client is told about who answered."""
        return {
            "x-request-id": self.request_id,
            "x-miner-uid": str(self.miner.uid),
            "x-miner-hotkey": self.miner.hotkey,
        }

    def record(self, outcome: Outcome, error: str | None, gateway_hotkey: str) -> RequestRecord:
        """The record of this attempt, as of now.

        Its duration ends with the last bytes that came: how fast the client reads is not the miner's doing.
        """
        self.concluded = True
        answered = outcome == "answered"
        ended_s = self._last_received_s if answered else self._clock.monotonic_s()
        return RequestRecord(
            request_id=self.request_id,
            client_request=self.client_request,
            client=self.visit.pseudonym,
            gateway_hotkey=gateway_hotkey,
            miner_uid=self.miner.uid,
            miner_hotkey=self.miner.hotkey,
            path=self.request.path,
            request_body=self.body.decode(),
            streamed=self.request.stream,
            store=self.request.store,
            steered=self.request.provider is not None,
            outcome=outcome,
            http_status=self.http_status,
            error=error,
            started_at_ms=self.started_at_ms,
            finished_at_ms=max(self._clock.unix_ms(), self.started_at_ms),
            ttft_ms=self._ttft_ms(),
            duration_ms=(ended_s - self._started_s) * 1000,
            prompt_tokens=self.tally.prompt_tokens,
            output_tokens=self.tally.output_tokens,
            choices=self.tally.choices(),
            receipt=self.receipt,
        )

    def _ttft_ms(self) -> float | None:
        first_s = self.tally.first_token_at_s
        if not self.request.stream or first_s is None:
            return None
        return (first_s - self._started_s) * 1000

    def measured(self, band: int) -> Measured:
        """What this whole answer says of its miner's pace with prompts of that band."""
        begun_s = self._started_s
        first_s = None
        if self.request.stream and self.tally.first_token_at_s is not None:
            begun_s = self.tally.first_token_at_s
            if self.place.familiar_share < MOSTLY_FAMILIAR:
                first_s = begun_s - self._started_s
        return Measured(
            band=band,
            first_s=first_s,
            rest_s=self._last_received_s - begun_s,
            tokens=self.tally.output_tokens / choices_of_all(self.request),
            alongside=self.place.alongside,
            streamed=self.request.stream,
        )
