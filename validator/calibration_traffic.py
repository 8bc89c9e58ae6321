"""Sends requests straight to a miner, as a gateway would, and records the answers."""

import json
from collections.abc import AsyncIterator, Sequence
from typing import Any

import httpx

from shared.answer_text import AnswerText, TextPlace, text_place
from shared.errors import MalformedMessage, ModelError
from shared.inference_paths import CHAT_PATH
from shared.peer_auth import sign_request
from shared.records import ChoiceRecord, RequestRecord
from shared.signing import Signer
from validator.calibration_requests import NoiseRequest
from validator.clock import Clock

ANSWER_DEADLINE_S = 600.0
"""Longest wait for a miner that computes on a CPU."""

_EVENT = "data: "
_LAST_EVENT = "[DONE]"


class MinerTraffic:
    """A miner at `url` with the hotkey `hotkey`, to which requests are signed by `signer`."""

    def __init__(self, http: httpx.AsyncClient, signer: Signer, url: str, hotkey: str, clock: Clock) -> None:
        self._http, self._signer, self._clock = http, signer, clock
        self._url, self._hotkey = url.rstrip("/"), hotkey

    async def ask(self, request: NoiseRequest) -> RequestRecord:
        """The record of one answered request.

        Raises:
            ModelError: the miner did not answer it as it should; the message says how.
        """
        started_at_ms = self._clock()
        headers = sign_request(self._signer, "POST", request.path, request.body, self._hotkey)
        headers["content-type"] = "application/json"
        url = self._url + request.path
        try:
            async with self._http.stream(
                "POST", url, content=request.body, headers=headers, timeout=ANSWER_DEADLINE_S
            ) as response:
                payloads = [payload async for payload in _payloads(response, request.streamed)]
            return self._record(request, payloads, started_at_ms)
        except (httpx.HTTPError, ValueError, MalformedMessage) as error:
            raise ModelError(f"the miner at {self._url} did not answer: {error!r}") from None

    def _record(
        self, request: NoiseRequest, payloads: Sequence[dict[str, Any]], started_at_ms: int
    ) -> RequestRecord:
        choices = _choices(payloads, text_place(request.path == CHAT_PATH, request.streamed))
        finished_at_ms = self._clock()
        return RequestRecord(
            request_id=request.request_id,
            gateway_hotkey=self._signer.ss58_address,
            miner_uid=0,
            miner_hotkey=self._hotkey,
            path=request.path,
            request_body=request.body.decode(),
            streamed=request.streamed,
            store=True,
            outcome="answered",
            http_status=httpx.codes.OK,
            error=None,
            started_at_ms=started_at_ms,
            finished_at_ms=finished_at_ms,
            ttft_ms=None,
            duration_ms=float(finished_at_ms - started_at_ms),
            prompt_tokens=sum(len(choice.prompt_token_ids) for choice in choices),
            output_tokens=sum(len(choice.output_token_ids) for choice in choices),
            choices=choices,
            receipt=next((payload["receipt"] for payload in payloads if payload.get("receipt")), None),
        )


async def _payloads(response: httpx.Response, streamed: bool) -> AsyncIterator[dict[str, Any]]:
    if response.status_code != httpx.codes.OK:
        text = (await response.aread())[:500].decode(errors="replace")
        raise ModelError(f"the miner refused a request with HTTP {response.status_code}: {text}")
    if not streamed:
        yield json.loads(await response.aread())
        return
    async for line in response.aiter_lines():
        if line.startswith(_EVENT) and line != _EVENT + _LAST_EVENT:
            yield json.loads(line.removeprefix(_EVENT))


def _choices(payloads: Sequence[dict[str, Any]], place: TextPlace) -> tuple[ChoiceRecord, ...]:
    """Choices by index; prompt ids stand beside the choices of a chat, inside each of a completion."""
    prompts: dict[int, list[int]] = {}
    outputs: dict[int, list[int]] = {}
    reasons: dict[int, str] = {}
    texts: dict[int, AnswerText] = {}
    beside: list[int] = next((p["prompt_token_ids"] for p in payloads if p.get("prompt_token_ids")), [])
    for choice in (choice for payload in payloads for choice in payload["choices"]):
        index = choice["index"]
        outputs.setdefault(index, []).extend(choice.get("token_ids") or [])
        prompts[index] = prompts.get(index) or choice.get("prompt_token_ids") or beside
        reasons[index] = choice.get("finish_reason") or reasons.get(index, "")
        texts.setdefault(index, AnswerText(place)).add(choice, brings_ids=bool(choice.get("token_ids")))
    return tuple(
        ChoiceRecord(
            index=index,
            prompt_token_ids=tuple(prompts[index]),
            output_token_ids=tuple(outputs[index]),
            finish_reason=reasons[index] or None,
            text_sha256=texts[index].sha256,
            text_bytes=texts[index].size_bytes,
            text_bytes_without_ids=texts[index].without_ids_bytes,
            beside_text=texts[index].beside,
            tool_calls_sha256=texts[index].tool_calls.sha256,
        )
        for index in sorted(outputs)
    )
