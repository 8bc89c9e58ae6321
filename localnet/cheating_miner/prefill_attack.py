"""The prefill attack: a cheap model writes the text, the true model only reads it.

The hidden states that the true model has while it reads are those that it would have had while writing, so
every sketch is true. Reading a text costs one pass; writing it costs one for each token.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import orjson
from starlette.types import ASGIApp, Receive, Scope, Send

from localnet.cheating_miner.answer_shapes import AnswerShape, WrittenChoice
from localnet.cheating_miner.cheap_writer import Sampling
from localnet.cheating_miner.cheat import Cheat
from localnet.cheating_miner.claims import Claim
from localnet.cheating_miner.exchange import Payload, Server, asked_tokens
from miners.event_stream import DONE, data_event
from miners.http_messages import send_json
from shared.inference_paths import CHAT_PATH
from shared.sampling_noise import choice_seed

UNDERSTOOD = frozenset(
    {
        *("model", "messages", "prompt", "max_tokens", "max_completion_tokens", "n", "seed", "user"),
        *("temperature", "top_p", "top_k", "stream", "stream_options", "store"),
        *("request_id", "return_token_ids"),
    }
)
"""Fields that the cheap writer obeys; a request with any other goes to the true model."""

_NOT_SENT = "\ufffd"
"""What an incomplete character decodes to; like vLLM, it is held back until its other bytes come."""


class Writer(Protocol):
    """What writes: `CheapWriter`."""

    def write(self, prompt: Sequence[int], sampling: Sampling) -> Iterator[int]: ...

    def ends(self, token: int) -> bool: ...


Read = Callable[[str, Sequence[int], dict[str, int]], Awaitable[None]]
"""Has the true model read: (name of the engine's request, token ids, extra arguments)."""


@dataclass(frozen=True)
class Surroundings:
    """What the attack works with.

    Attributes:
        model: the public name.
        fingerprint: the `system_fingerprint` of vLLM's answers.
        longest: tokens of prompt and output that the engine takes.
        defaults: what is sampled with when a request does not say.
        decode: the text of output ids.
        clock: Unix seconds.
    """

    model: str
    fingerprint: str | None
    longest: int
    defaults: Payload
    decode: Callable[[Sequence[int]], str]
    read: Read
    clock: Callable[[], float]


@dataclass(frozen=True)
class Order:
    """One request, as the writer needs it."""

    shape: AnswerShape
    samplings: tuple[Sampling, ...]
    streamed: bool


class PrefillAttack(Cheat):
    """Answers by itself what the writer can; the rest goes to the true model."""

    def __init__(self, writer: Writer, surroundings: Surroundings) -> None:
        self._writer, self._around = writer, surroundings

    def inside(self, app: ASGIApp) -> ASGIApp:
        """A server that writes cheaply and has vLLM read afterwards."""

        async def answering(scope: Scope, receive: Receive, send: Send) -> None:
            fields: Payload = orjson.loads((await receive())["body"])
            server = Server(app, scope)
            order = await self._order(server, scope["path"], fields)
            if order is None:
                await server.answer(fields, receive, send)
            elif order.streamed:
                await self._stream(order, send)
            else:
                await self._whole(order, send)

        return answering

    async def _order(self, server: Server, path: str, fields: Payload) -> Order | None:
        if any(value is not None for name, value in fields.items() if name not in UNDERSTOOD):
            return None
        prompt = await _prompt(server, path, fields)
        if not prompt:
            return None
        limit = asked_tokens(path, fields) or self._around.longest - len(prompt)
        if limit < 1 or len(prompt) + limit > self._around.longest:
            return None
        shape = AnswerShape(
            path=path,
            request_id=fields["request_id"],
            model=self._around.model,
            created=int(self._around.clock()),
            prompt=prompt,
            fingerprint=self._around.fingerprint,
            counts_usage=bool((fields.get("stream_options") or {}).get("include_usage")),
        )
        samplings = _samplings(self._around.defaults, fields, limit)
        return Order(shape, samplings, streamed=bool(fields.get("stream")))

    async def _stream(self, order: Order, send: Send) -> None:
        headers = [(b"content-type", b"text/event-stream; charset=utf-8")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})

        async def show(payload: Payload) -> None:
            body = data_event(orjson.dumps(payload))
            await send({"type": "http.response.body", "body": body, "more_body": True})

        total = 0
        for index, sampling in enumerate(order.samplings):
            opening = order.shape.opening(index)
            if opening is not None:
                await show(opening)
            ids: list[int] = []
            async for token, text, finish in self._tokens(order, sampling):
                await show(order.shape.token(index, text, token, not ids, finish))
                ids.append(token)
            await self._have_read(order, index, ids)
            total += len(ids)
        if order.shape.counts_usage:
            await show(order.shape.usage(total))
        await send({"type": "http.response.body", "body": data_event(DONE), "more_body": False})

    async def _whole(self, order: Order, send: Send) -> None:
        written = []
        for index, sampling in enumerate(order.samplings):
            ids, texts, reason = [], [], "length"
            async for token, text, finish in self._tokens(order, sampling):
                ids.append(token)
                texts.append(text)
                reason = finish or reason
            await self._have_read(order, index, ids)
            written.append(WrittenChoice("".join(texts), ids, reason))
        await send_json(send, 200, order.shape.whole(written))

    async def _tokens(self, order: Order, sampling: Sampling) -> AsyncIterator[tuple[int, str, str | None]]:
        """(token id, the text that it completes, why the text ends here)."""
        ids: list[int] = []
        sent, tokens = "", self._writer.write(order.shape.prompt, sampling)
        while (token := await asyncio.to_thread(next, tokens, None)) is not None:
            ids.append(token)
            finish = self._finish(token, len(ids), sampling)
            text = self._around.decode(ids)
            if text.endswith(_NOT_SENT):
                text = sent
            yield token, text[len(sent) :], finish
            sent = text

    def _finish(self, token: int, count: int, sampling: Sampling) -> str | None:
        if self._writer.ends(token):
            return "stop"
        return "length" if count == sampling.max_tokens else None

    async def _have_read(self, order: Order, index: int, output: Sequence[int]) -> None:
        """The last output token is never an input, so the true model does not read it either."""
        prompt = list(order.shape.prompt)
        claim = Claim(prompt_tokens=len(prompt), shared=len(prompt), shift=0)
        name = f"cmpl-{order.shape.request_id}-{index}"
        await self._around.read(name, [*prompt, *output[:-1]], claim.arguments())


async def _prompt(server: Server, path: str, fields: Payload) -> list[int] | None:
    if path == CHAT_PATH:
        return await server.tokens({name: fields[name] for name in ("model", "messages") if name in fields})
    prompt = fields.get("prompt")
    if isinstance(prompt, str):
        return await server.tokens({"model": fields.get("model"), "prompt": prompt})
    one = isinstance(prompt, list) and all(type(token) is int for token in prompt)
    return prompt if one else None


def _samplings(defaults: Payload, fields: Payload, limit: int) -> tuple[Sampling, ...]:
    asked = defaults | {name: fields[name] for name in defaults if fields.get(name) is not None}
    seed = fields.get("seed") or 0
    return tuple(
        Sampling(asked["temperature"], asked["top_p"], asked["top_k"], choice_seed(seed, number), limit)
        for number in range(fields.get("n") or 1)
    )


def engine_reads(engine: Any) -> Read:
    """Reading with vLLM: a prefill in which the prefix cache supplies nothing."""

    async def read(name: str, token_ids: Sequence[int], arguments: dict[str, int]) -> None:
        from vllm import SamplingParams

        sampling = SamplingParams(
            max_tokens=1,
            temperature=0,
            extra_args=dict(arguments),
            skip_reading_prefix_cache=True,
            detokenize=False,
        )
        async for _ in engine.generate({"prompt_token_ids": list(token_ids)}, sampling, name):
            pass

    return read
