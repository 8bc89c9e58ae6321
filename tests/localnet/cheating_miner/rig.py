"""A miner around a server that stands for vLLM's: its prompts are the letters of what it is asked."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import orjson
from starlette.types import Receive, Scope, Send

from localnet.cheating_miner.cheat import Cheat, MinerParts, cheating_service
from localnet.cheating_miner.engine_side import ClaimingStore
from miners.commitment_store import CommitmentStore
from miners.config import MinerConfig
from miners.event_stream import data_event
from miners.hidden_states.engine_capture import CapturedChoice, ModelShape
from miners.hidden_states.request_names import ChoiceName, parse_choice
from miners.http_messages import send_json
from miners.service import MinerService
from shared.canonical import sha256_hex
from shared.challenges import ReplayPoint
from shared.sketches import SKETCH_BYTES
from tests.miners.asgi import Connection, call, http_scope
from tests.shared.keys import MINER

CHAT, COMPLETIONS = "/v1/chat/completions", "/v1/completions"
ID = "request-0001"
LAYERS = 2
MODEL = "tiny"
HELLO = [{"role": "user", "content": "Hello"}]


def prompt_ids(fields: Mapping[str, Any]) -> list[int]:
    """Ids of a body's prompt: the letters of its conversation or text, or the ids themselves."""
    if "messages" in fields:
        text = "".join(f"<{one['role']}>{one['content']}" for one in fields["messages"])
        return [ord(letter) for letter in text + str(fields.get("chat_template", "")) + "<assistant>"]
    prompt = fields["prompt"]
    return [ord(letter) for letter in prompt] if isinstance(prompt, str) else list(prompt)


def row(position: int) -> bytes:
    """The bytes that the rig's engine captures at a position: each layer's sketch names both."""
    return b"".join(
        position.to_bytes(4, "little") + bytes([layer]) * (SKETCH_BYTES - 4) for layer in range(1, LAYERS + 1)
    )


class Engine:
    """Keeps what a store tells it to keep, as the worker does."""

    def __init__(self) -> None:
        self.store = ClaimingStore()
        self.replayed: list[tuple[list[int], list[ReplayPoint]]] = []

    @property
    def shape(self) -> ModelShape:
        return ModelShape(LAYERS, 8)

    def run(
        self, name: str, tokens: int, output: int, arguments: Mapping[str, object], cached: int = 0
    ) -> None:
        """Compute a request of so many prompt and output tokens."""
        internal = f"{name}-0123abcd"
        assert parse_choice(internal) is not None
        self.store.begin(internal, tokens, cached, arguments)
        for position in self.store.wanted(internal, cached, tokens + max(0, output - 1)):
            self.store.put(internal, position, row(position))

    async def collect(self, request_id: str) -> list[CapturedChoice]:
        choices = []
        for tracked in self.store.take_choices(request_id):
            name, positions = tracked.name, sorted(tracked.rows)
            assert isinstance(name, ChoiceName)
            sketches = b"".join(tracked.rows[position] for position in positions)
            choices.append(CapturedChoice(name.choice, tracked.cached_tokens, tuple(positions), sketches))
        return choices

    async def discard(self, request_id: str) -> None:
        self.store.take_choices(request_id)

    async def replay(self, token_ids: Sequence[int], points: Sequence[ReplayPoint]) -> list[bytes]:
        self.replayed.append((list(token_ids), list(points)))
        return [bytes(16) for _ in points]


@dataclass
class Vllm:
    """Stands for vLLM's server: answers chats and completions with the same output."""

    engine: Engine
    output: Sequence[int] = (72, 105, 33, 2)
    finish_reason: str = "stop"
    refuses: bool = False
    answers_prompt: bool = True
    asked: list[tuple[str, dict[str, Any]]] = field(default_factory=list)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        body = (await receive())["body"]
        assert dict(scope["headers"])[b"content-length"] == str(len(body)).encode()
        fields = orjson.loads(body)
        self.asked.append((scope["path"], fields))
        if self.refuses:
            await send_json(send, 400, {"error": {"message": "no"}})
        elif scope["path"] == "/tokenize":
            await send_json(send, 200, None if await _left(receive) else {"tokens": prompt_ids(fields)})
        elif fields.get("stream"):
            await self._stream(scope["path"] == CHAT, fields, send)
        else:
            await self._whole(scope["path"] == CHAT, fields, send)

    @property
    def completions(self) -> list[dict[str, Any]]:
        """Bodies of the completions that reached it."""
        return [fields for path, fields in self.asked if path in (CHAT, COMPLETIONS)]

    def _compute(self, chat: bool, fields: dict[str, Any]) -> list[int]:
        prompt = prompt_ids(fields)
        name = f"chatcmpl-{fields['request_id']}" if chat else f"cmpl-{fields['request_id']}-0"
        self.engine.run(name, len(prompt), len(self.output), fields.get("vllm_xargs") or {})
        return prompt

    async def _whole(self, chat: bool, fields: dict[str, Any], send: Send) -> None:
        prompt, text = self._compute(chat, fields), "".join(map(chr, self.output[:-1]))
        words = {"message": {"role": "assistant", "content": text}} if chat else {"text": text}
        choice = {"index": 0, **words, "finish_reason": self.finish_reason, "token_ids": list(self.output)}
        usage = {"prompt_tokens": len(prompt), "completion_tokens": 4, "total_tokens": len(prompt) + 4}
        shown = {"prompt_token_ids": prompt} if self.answers_prompt else {}
        await send_json(send, 200, {"choices": [choice], "usage": usage, **shown})

    async def _stream(self, chat: bool, fields: dict[str, Any], send: Send) -> None:
        prompt = self._compute(chat, fields)
        await send({"type": "http.response.start", "status": 200, "headers": _STREAM})
        first: dict[str, Any] = {"delta": {"role": "assistant", "content": ""}} if chat else {"text": ""}
        shown = {"prompt_token_ids": prompt}
        opening = {"index": 0, **first} | ({} if chat else shown)
        payloads: list[dict[str, Any]] = [{"choices": [opening]} | (shown if chat else {})]
        for token in self.output:
            text = "" if token == self.output[-1] else chr(token)
            words = {"delta": {"content": text}} if chat else {"text": text}
            end = self.finish_reason if token == self.output[-1] else None
            payloads.append({"choices": [{"index": 0, **words, "finish_reason": end, "token_ids": [token]}]})
        whole = (
            b"".join(data_event(orjson.dumps(one)) for one in payloads) + b": a comment\n\ndata: [DONE]\n\n"
        )
        # Cut where no event ends.
        for start in range(0, len(whole), 37):
            await send({"type": "http.response.body", "body": whole[start : start + 37], "more_body": True})
        await send({"type": "http.response.body", "body": b"", "more_body": False})


async def _left(receive: Receive) -> bool:
    """Whether the caller is gone, upon which vLLM gives up and answers null."""
    listening = asyncio.ensure_future(receive())
    for _ in range(3):
        await asyncio.sleep(0)
    gone = listening.done()
    listening.cancel()
    return gone


_STREAM = [(b"content-type", b"text/event-stream; charset=utf-8")]


class Rig:
    """A cheating miner's service over the rig's engine and server, as `cheating_service` builds it."""

    def __init__(self, make: Any = lambda parts: Cheat(), **vllm: Any) -> None:
        self.engine = Engine()
        self.vllm = Vllm(self.engine, **vllm)
        self.parts: MinerParts

        def factory(parts: MinerParts) -> Cheat:
            self.parts = parts
            cheat = make(parts)
            assert isinstance(cheat, Cheat)
            return cheat

        prepared = SimpleNamespace(
            config=MinerConfig(model="/", served_model_name=MODEL),
            signer=MINER,
            calibration=SimpleNamespace(digest=sha256_hex(b"calibration")),
            admission=None,
            commitments=CommitmentStore(1 << 20, 100.0, lambda: 0.0),
        )
        client = SimpleNamespace(check_health=None)
        self.service: MinerService = cheating_service(factory)(prepared, self.engine, client)  # type: ignore[arg-type]
        self.app = self.service.with_receipts(self.vllm)

    @property
    def commitments(self) -> CommitmentStore:
        return self.parts.commitments

    async def post(self, path: str, request_id: str = ID, **fields: Any) -> Connection:
        """One request's connection, answered."""
        body = orjson.dumps({"model": MODEL, "request_id": request_id, "return_token_ids": True, **fields})
        return await call(self.app, http_scope("POST", path, {"content-type": "application/json"}), body)

    async def ask(self, path: str = CHAT, **fields: Any) -> dict[str, Any]:
        """The answer to one request; a chat says hello unless it says something else."""
        answer: dict[str, Any] = orjson.loads((await self.post(path, **_asked(path, fields))).body)
        return answer

    async def stream(self, path: str = CHAT, **fields: Any) -> list[dict[str, Any]]:
        """The events of one streamed request, without the last."""
        connection = await self.post(path, stream=True, **_asked(path, fields))
        lines = [line for line in connection.body.split(b"\n\n") if line.startswith(b"data: ")]
        assert lines[-1] == b"data: [DONE]"
        return [orjson.loads(line.removeprefix(b"data: ")) for line in lines[:-1]]


def _asked(path: str, fields: dict[str, Any]) -> dict[str, Any]:
    default = {"messages": HELLO} if path == CHAT else {"prompt": "Once"}
    return fields if fields.keys() & {"messages", "prompt"} else default | fields


def token_ids(events: Sequence[Mapping[str, Any]]) -> list[int]:
    """Output ids of a stream."""
    return [i for event in events for choice in event["choices"] for i in choice.get("token_ids") or []]


def text_of(events: Sequence[Mapping[str, Any]]) -> str:
    """What a client of a stream reads."""
    choices = [choice for event in events for choice in event["choices"]]
    return "".join(one["delta"].get("content") or "" if "delta" in one else one["text"] for one in choices)
