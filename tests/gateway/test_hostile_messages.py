"""Messages in shapes that no client means: 400 with the field's name in every API, and no miner sees them."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.client_request import client_request
from gateway.errors import ApiError
from gateway.message_checks import MAX_NESTING, nests_too_deep
from gateway.requested_tokens import conversation, requested_tokens
from shared.inference_paths import CHAT_PATH
from tests.gateway.running_gateway import RunningGateway, running_gateway
from tests.gateway.scripted_miner import MODEL
from tests.gateway.test_messages_request import ANYTHING
from tests.models import demo_model

USER = {"role": "user", "content": "Who answers?"}
LONG = {"role": "user", "content": "A lighthouse keeper writes down the weather. " * 40}
"""So long that the gateway counts its tokens, which is when messages are looked at most closely."""

CONTEXT = 600
TOO_DEEP = "[" * 5000


def calls(value: Any) -> dict[str, Any]:
    return {"role": "assistant", "content": None, "tool_calls": value}


def call(arguments: str) -> dict[str, Any]:
    return {"id": "c", "type": "function", "function": {"name": "f", "arguments": arguments}}


HOSTILE: list[Any] = [
    {"role": "user", "content": [{"type": []}]},
    {"role": "user", "content": [{"type": {}, "text": "a"}]},
    {"role": "user", "content": [5]},
    {"role": "user", "content": [None]},
    {"role": "user", "content": {"type": "text"}},
    {"role": "user", "content": True},
    {"role": [], "content": "a"},
    {"role": {}, "content": [{"type": "text", "text": "a"}]},
    [],
    "text",
]
CALLS: list[Any] = [
    calls(5),
    calls(True),
    calls({"a": 1}),
    calls("text"),
    calls([5]),
    calls([call(TOO_DEEP)]),
    calls([call('{"a":' * 3000)]),
]


@asynccontextmanager
async def counting(tmp_path: Path) -> AsyncIterator[RunningGateway]:
    settings: dict[str, Any] = {"model": str(demo_model()), "served_model_name": MODEL}
    async with running_gateway(tmp_path, **settings, max_model_len=CONTEXT) as gateway:
        await gateway.parts.tokens.load()
        yield gateway


async def refusals(gateway: RunningGateway, path: str, bodies: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The errors of these requests, all of which must be 400."""
    async with httpx.AsyncClient(base_url=gateway.url) as http:
        answers = [await http.post(path, content=json.dumps({"model": MODEL} | body)) for body in bodies]
    assert [answer.status_code for answer in answers] == [400] * len(bodies)
    assert gateway.miners[0].bodies == []
    return [answer.json()["error"] for answer in answers]


@pytest.mark.parametrize("path", [CHAT_PATH, "/tokenize"])
async def test_chats_are_refused_by_name(tmp_path: Path, path: str) -> None:
    bodies = [{"messages": [first, one]} for one in HOSTILE + CALLS for first in (USER, LONG)]
    async with counting(tmp_path) as gateway:
        for body, error in zip(bodies, await refusals(gateway, path, bodies), strict=True):
            assert error["param"] == "messages", body
            assert "messages[1]" in error["message"], body


async def test_responses_are_refused_by_name(tmp_path: Path) -> None:
    item = {"type": "function_call", "call_id": "c", "name": "f"}
    items = [*HOSTILE, item | {"arguments": TOO_DEEP}, item | {"arguments": 5}, {"type": []}]
    bodies = [{"input": [first, one]} for one in items for first in (USER, LONG)]
    async with counting(tmp_path) as gateway:
        for body, error in zip(bodies, await refusals(gateway, "/v1/responses", bodies), strict=True):
            assert error["param"] == "input", body


@pytest.mark.parametrize("path", ["/v1/messages", "/v1/messages/count_tokens"])
async def test_anthropics_messages_are_refused_by_name(tmp_path: Path, path: str) -> None:
    used = {"role": "assistant", "content": [{"type": "tool_use", "id": "c", "name": "f", "input": TOO_DEEP}]}
    bodies = [
        {"max_tokens": 5, "messages": [first, one]} for one in [*HOSTILE, used] for first in (USER, LONG)
    ]
    async with counting(tmp_path) as gateway:
        for body, error in zip(bodies, await refusals(gateway, path, bodies), strict=True):
            assert error["type"] == "invalid_request_error"
            assert error["message"].startswith("messages"), body


async def test_what_only_rendering_refuses_is_400_too(tmp_path: Path) -> None:
    too_large_a_number = calls([call("1" * 5000)])
    async with counting(tmp_path) as gateway:
        (error,) = await refusals(gateway, "/tokenize", [{"messages": [USER, too_large_a_number]}])
        assert error["param"] == "messages"


@pytest.mark.parametrize(
    "message",
    [
        {"role": "user", "content": [{"type": "text", "text": "a"}, "b"]},
        {"role": "user", "content": [{"type": "image_url", "image_url": {"url": "data:"}}]},
        {"role": "user", "content": None},
        {"role": "user", "content": []},
        calls([]),
        calls(None),
        calls([call("not JSON")]),
        calls([call('{"a": "' + "[" * 100 + '"}')]),
        calls([call(json.dumps([[[]]] * 100))]),
    ],
)
def test_what_chats_really_have_is_let_through(message: dict[str, Any]) -> None:
    request = client_request(CHAT_PATH, {"messages": [USER, message]}, MODEL)
    assert request.fields["messages"][1] == message


@given(st.integers(0, 2 * MAX_NESTING), st.text(max_size=3), st.sampled_from(["[", '{"a":']))
def test_only_what_nests_too_deep_does(depth: int, text: str, opening: str) -> None:
    closing = {"[": "]", '{"a":': "}"}[opening]
    inner = json.dumps(text + "[" * 50)
    assert nests_too_deep(opening * depth + inner + closing * depth) == (depth > MAX_NESTING)
    assert nests_too_deep(opening * depth + inner) == (depth > MAX_NESTING)


PART = st.fixed_dictionaries({"type": st.just("text") | ANYTHING}, optional={"text": ANYTHING})
MESSAGE = st.fixed_dictionaries(
    {"role": st.sampled_from(["user", "assistant", "tool"]) | ANYTHING},
    optional={
        "content": st.text(max_size=4) | st.lists(PART | ANYTHING, max_size=3) | ANYTHING,
        "tool_calls": st.lists(st.fixed_dictionaries({"function": ANYTHING}) | ANYTHING, max_size=2)
        | ANYTHING,
    },
)


@given(st.lists(MESSAGE | ANYTHING, max_size=3) | ANYTHING)
def test_any_messages_are_taken_or_refused_by_name(messages: Any) -> None:
    refused = None
    try:
        request = client_request(CHAT_PATH, {"messages": messages}, MODEL)
        assert requested_tokens(request, 100) > 0
        assert conversation(request)
    except ApiError as error:
        refused = (error.status, error.param)
    assert refused in (None, (400, "messages"))
