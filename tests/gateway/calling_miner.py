"""Scripted miners that call tools, and clients of both companies for a running gateway."""

from collections.abc import Sequence
from typing import Any

from aiohttp import web
from anthropic import Anthropic, AsyncAnthropic

from tests.gateway.running_gateway import RunningGateway
from tests.gateway.scripted_miner import PROMPT_IDS, WORD_IDS, Behaviour, Script, event

CALLS: list[tuple[str, str, list[str]]] = [
    ("call-1", "look_up", ['{"city": ', '"Abidjan"}']),
    ("call-2", "now", ["{}"]),
]
"""Id, name and arguments, in the pieces that a stream has them in."""


def anthropic_client(gateway: RunningGateway, key: str = "none") -> Any:
    """Untyped: its types offer a dozen kinds of blocks that no answer here has."""
    return AsyncAnthropic(base_url=gateway.url, api_key=key, max_retries=0)


def anthropic_client_sync(gateway: RunningGateway) -> Any:
    """The synchronous one; call it from a thread."""
    return Anthropic(base_url=gateway.url, api_key="none", max_retries=0)


def says(content: str, finish_reason: str = "stop", **fields: Any) -> Behaviour:
    """A miner with these words; `fields` go into the choice that ends the answer."""
    return speaks([{"content": content}], finish_reason, **fields)


def speaks(deltas: Sequence[dict[str, Any]], finish_reason: str = "stop", **fields: Any) -> Behaviour:
    """A miner whose stream has these deltas after the first event, and whose whole answer says the same."""

    async def answer(request: web.Request, script: Script) -> web.StreamResponse:
        frame = {"id": "chatcmpl-x", "object": "x", "created": 1, "model": "m"}
        if not script.body.get("stream"):
            choice = {
                "index": 0,
                "message": {"role": "assistant", **_merged(deltas)},
                "finish_reason": finish_reason,
                "token_ids": WORD_IDS,
                **fields,
            }
            usage = {"prompt_tokens": 3, "completion_tokens": 4, "total_tokens": 7}
            whole = {**frame, "choices": [choice], "prompt_token_ids": PROMPT_IDS, "usage": usage}
            return web.json_response(whole | {"receipt": script.answer["receipt"]})
        pieces = [event(frame | {"choices": [_choice({"role": "assistant", "content": ""})]} | _prompt())]
        for number, delta in enumerate(deltas):
            last = {"finish_reason": finish_reason, **fields} if number == len(deltas) - 1 else {}
            ids = WORD_IDS if number == 0 else []
            pieces.append(event(frame | {"choices": [_choice(delta) | {"token_ids": ids} | last]}))
        return await script.stream(request, *pieces, *script.events[-2:])

    return answer


def _prompt() -> dict[str, Any]:
    return {"prompt_token_ids": PROMPT_IDS}


def _choice(delta: dict[str, Any]) -> dict[str, Any]:
    return {"index": 0, "delta": delta, "finish_reason": None}


def call_deltas(calls: Sequence[tuple[str, str, Sequence[str]]] = CALLS) -> list[dict[str, Any]]:
    """The deltas in which vLLM streams these calls."""
    deltas: list[dict[str, Any]] = []
    for index, (call_id, name, pieces) in enumerate(calls):
        start = {"index": index, "id": call_id, "type": "function", "function": {"name": name}}
        deltas.append({"tool_calls": [start]})
        deltas += [{"tool_calls": [{"index": index, "function": {"arguments": text}}]} for text in pieces]
    return deltas


def _merged(deltas: Sequence[dict[str, Any]]) -> dict[str, Any]:
    words = [delta["content"] for delta in deltas if delta.get("content")]
    calls: dict[int, dict[str, Any]] = {}
    for piece in (piece for delta in deltas for piece in delta.get("tool_calls", ())):
        call = calls.setdefault(piece["index"], {"type": "function", "function": {"arguments": ""}})
        call |= {name: piece[name] for name in ("id",) if name in piece}
        function = piece.get("function", {})
        call["function"] |= {name: function[name] for name in ("name",) if name in function}
        call["function"]["arguments"] += function.get("arguments", "")
    message: dict[str, Any] = {"content": "".join(words) or None}
    return message | ({"tool_calls": [calls[index] for index in sorted(calls)]} if calls else {})
