from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from localnet.cheating_miner.exchange import (
    BodyCheat,
    ChangedAnswer,
    Exchange,
    Payload,
    Server,
    asked_tokens,
)
from miners.event_stream import data_event
from tests.localnet.cheating_miner.rig import CHAT, COMPLETIONS, HELLO, ID, Rig, prompt_ids
from tests.miners.asgi import Connection


class Shouting(BodyCheat):
    """Asks at another temperature, marks every payload, and keeps what the server tokenises."""

    def __init__(self) -> None:
        self.tokens: list[int] | None = []

    async def exchange(self, server: Server, path: str, fields: Payload) -> Exchange:
        self.tokens = await server.tokens({"messages": fields["messages"]})
        return Exchange({**fields, "temperature": 1.5}, self._mark)

    def _mark(self, payload: Payload) -> None:
        payload["marked"] = True


async def test_the_request_and_the_whole_answer_are_changed_and_the_receipt_is_of_the_received_body() -> None:
    cheat = Shouting()
    rig = Rig(lambda parts: cheat)
    answer = await rig.ask(temperature=0.5)
    assert rig.vllm.completions[0]["temperature"] == 1.5
    assert answer["marked"] is True
    assert answer["receipt"]["request_id"] == ID
    assert cheat.tokens == prompt_ids({"messages": HELLO})


async def test_every_event_of_a_stream_is_changed_wherever_chunks_are_cut() -> None:
    events = await Rig(lambda parts: Shouting()).stream()
    assert all(event["marked"] for event in events[:-1])
    assert "receipt" in events[-1]


async def test_a_refusal_passes_as_it_is() -> None:
    cheat = Shouting()
    rig = Rig(lambda parts: cheat, refuses=True)
    connection = await rig.post(CHAT, messages=HELLO)
    assert connection.status == 400
    assert orjson.loads(connection.body) == {"error": {"message": "no"}}
    assert cheat.tokens is None


def _mark(payload: Payload) -> None:
    payload["marked"] = True


@given(st.lists(st.integers(1, 60), max_size=6))
def test_a_stream_cut_anywhere_gives_the_same_events(cuts: list[int]) -> None:
    whole = data_event(b'{"a":1}') + b": comment\n\n" + data_event(b'{"b":2}') + data_event(b"[DONE]")
    assert b"".join(_passed(whole, cuts)) == (
        data_event(b'{"a":1,"marked":true}')
        + b": comment\n\n"
        + data_event(b'{"b":2,"marked":true}')
        + data_event(b"[DONE]")
    )


def _passed(whole: bytes, cuts: list[int]) -> list[bytes]:
    connection = Connection()
    answer = ChangedAnswer(connection.send, _mark)
    start: dict[str, Any] = {
        "type": "http.response.start",
        "status": 200,
        "headers": [(b"content-type", b"text/event-stream")],
    }
    steps = [answer.send(start)]
    for cut in cuts:
        piece, whole = whole[:cut], whole[cut:]
        steps.append(answer.send({"type": "http.response.body", "body": piece, "more_body": True}))
    steps.append(answer.send({"type": "http.response.body", "body": whole, "more_body": False}))
    for step in steps:
        with pytest.raises(StopIteration):
            step.send(None)
    return [message.get("body", b"") for message in connection.sent]


@pytest.mark.parametrize(
    ("path", "fields", "tokens"),
    [
        (CHAT, {}, None),
        (CHAT, {"max_tokens": 5}, 5),
        (CHAT, {"max_tokens": 5, "max_completion_tokens": 7}, 7),
        (CHAT, {"max_tokens": None}, None),
        (COMPLETIONS, {}, 16),
        (COMPLETIONS, {"max_tokens": 40}, 40),
    ],
)
def test_the_limit_that_a_body_names(path: str, fields: dict[str, Any], tokens: int | None) -> None:
    assert asked_tokens(path, fields) == tokens
