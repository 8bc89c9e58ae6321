import json
from itertools import count

from shared.inference_paths import CHAT_PATH, COMPLETIONS_PATH
from validator.calibration_prompts import calibration_chats
from validator.calibration_requests import WAVES, NoiseRequest, noise_requests, waves

REQUESTS = 96


def requests() -> list[NoiseRequest]:
    numbers = count()
    return noise_requests("m", calibration_chats(), REQUESTS, lambda: f"request-{next(numbers):04d}")


def test_every_kind_of_traffic_occurs() -> None:
    bodies = [json.loads(request.body) for request in requests()]
    assert {request.path for request in requests()} == {CHAT_PATH, COMPLETIONS_PATH}
    assert {body["stream"] for body in bodies} == {True, False}
    assert len({body["temperature"] for body in bodies}) == 3
    assert len({body["max_tokens"] for body in bodies}) == 5
    assert {body.get("n") for body in bodies} == {None, 2}


def test_the_stream_flag_and_the_id_are_those_in_the_body() -> None:
    for request in requests():
        body = json.loads(request.body)
        assert body["stream"] == request.streamed
        assert body["request_id"] == request.request_id
        assert body["return_token_ids"] is True


def test_a_long_prefix_is_shared_so_that_the_cache_can_serve_it() -> None:
    systems = [
        body["messages"][0]["content"]
        for body in (json.loads(request.body) for request in requests())
        if "messages" in body and body["messages"][0]["role"] == "system"
    ]
    longest = max(systems, key=len)
    assert len(longest) > 600
    assert systems.count(longest) >= 10


def test_a_chat_ends_with_the_user() -> None:
    for request in requests():
        body = json.loads(request.body)
        if "messages" in body:
            assert body["messages"][-1]["role"] == "user"


def test_ids_are_all_different() -> None:
    assert len({request.request_id for request in requests()}) == REQUESTS


def test_waves_hold_every_request_once_in_order() -> None:
    groups = waves(requests())
    assert [request for group in groups for request in group] == requests()
    assert [len(group) for group in groups[: len(WAVES)]] == list(WAVES)
    assert waves([]) == []
