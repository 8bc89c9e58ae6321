"""Answers of other APIs, made of a miner's events as they come."""

from functools import partial
from typing import Any

import orjson
from starlette.types import Message

from gateway.messages_answer import MessagesWriter
from gateway.translated_response import TranslatedResponse

HEADERS = {"x-request-id": "request-1"}


def event(text: str) -> bytes:
    choice = {"index": 0, "delta": {"content": text}, "token_ids": [5], "finish_reason": None}
    return b"data: " + orjson.dumps({"choices": [choice], "prompt_token_ids": [1, 2]}) + b"\n\n"


class Client:
    """Takes what a response sends."""

    def __init__(self) -> None:
        self.messages: list[Message] = []

    async def send(self, message: Message) -> None:
        self.messages.append(message)

    def kinds(self) -> list[str]:
        lines = b"".join(one.get("body", b"") for one in self.messages).decode().split("\n")
        return [line.removeprefix("event: ") for line in lines if line.startswith("event: ")]


def response(client: Client) -> TranslatedResponse:
    return TranslatedResponse(client.send, partial(MessagesWriter, "model"))


async def test_a_stream_that_comes_in_pieces_goes_on_where_it_was() -> None:
    client = Client()
    one = response(client)
    await one.send_events(event("a"), HEADERS)
    first = len(client.kinds())
    no_headers: dict[str, Any] = {}
    await one.send_events(event("b"), no_headers)
    await one.end_events(b"data: [DONE]\n\n")
    kinds = client.kinds()
    assert kinds.count("message_start") == 1
    assert kinds[first:][0] == "content_block_delta", "the second piece continues the block of the first"
    assert kinds[-1] == "message_stop"


async def test_an_event_in_two_parts_is_one_event() -> None:
    client = Client()
    one = response(client)
    data = event("whole")
    await one.send_events(data[:20], HEADERS)
    await one.send_events(data[20:], HEADERS)
    await one.end_events(b"")
    assert client.kinds().count("content_block_delta") == 1


async def test_another_attempt_begins_another_answer() -> None:
    client = Client()
    one = response(client)
    await one.send_events(event("lost")[:20], HEADERS)
    await one.send_events(event("found"), {"x-request-id": "request-2"})
    await one.end_events(b"")
    sent = b"".join(message.get("body", b"") for message in client.messages)
    assert (b"lost" in sent, b"found" in sent) == (False, True)
    assert client.kinds().count("message_start") == 1
