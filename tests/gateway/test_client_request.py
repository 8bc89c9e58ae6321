import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.client_request import (
    MAX_CONTAINERS,
    NOT_PASSED_ON,
    ClientRequest,
    miner_body,
    parse_client_request,
)
from gateway.errors import ApiError
from gateway.message_checks import MAX_NESTING
from shared.inference_paths import CHAT_PATH, COMPLETIONS_PATH

MODEL = "a/model"
MESSAGES = [{"role": "user", "content": "hi"}]


def chat(**fields: Any) -> ClientRequest:
    body = {"messages": MESSAGES} | fields
    return parse_client_request(CHAT_PATH, json.dumps(body).encode(), MODEL)


def completion(**fields: Any) -> ClientRequest:
    return parse_client_request(COMPLETIONS_PATH, json.dumps({"prompt": "hi"} | fields).encode(), MODEL)


def refusal(path: str, body: bytes) -> ApiError:
    with pytest.raises(ApiError) as caught:
        parse_client_request(path, body, MODEL)
    return caught.value


def nested(depth: int) -> Any:
    """Lists in lists, `depth` of them."""
    value: Any = []
    for _ in range(depth - 1):
        value = [value]
    return value


def test_unknown_fields_and_the_clients_choices_are_passed_on() -> None:
    request = chat(temperature=0.5, stream=True, tools=[{"type": "function"}], brand_new={"x": 1.25})
    sent = json.loads(miner_body(request, "r" * 32, 9))
    assert sent == {
        "messages": MESSAGES,
        "temperature": 0.5,
        "stream": True,
        "tools": [{"type": "function"}],
        "brand_new": {"x": 1.25},
        "model": MODEL,
        "request_id": "r" * 32,
        "seed": 9,
        "return_token_ids": True,
    }


@pytest.mark.parametrize("name", sorted(NOT_PASSED_ON))
def test_fields_that_reach_into_the_engine_are_dropped(name: str) -> None:
    sent = json.loads(miner_body(chat(**{name: "evil"}), "r" * 32, 9))
    assert sent.get(name) != "evil"


def test_return_token_ids_and_seed_can_not_be_switched_off() -> None:
    sent = json.loads(miner_body(chat(return_token_ids=False, seed=None), "r" * 32, 9))
    assert sent["return_token_ids"] is True
    assert sent["seed"] == 9


def test_a_missing_model_means_the_served_one() -> None:
    assert chat().fields["model"] == MODEL
    assert chat(model=None).fields["model"] == MODEL


def test_an_unknown_model_is_404() -> None:
    error = refusal(CHAT_PATH, json.dumps({"messages": MESSAGES, "model": "gpt-4"}).encode())
    assert (error.status, error.code, error.param) == (404, "model_not_found", "model")


@pytest.mark.parametrize(("seed", "kept"), [(0, 0), (7, 7), (-5, -5), (None, None), (-1, None)])
def test_the_clients_seed_is_kept(seed: int | None, kept: int | None) -> None:
    assert chat(seed=seed).seed == kept


def test_store_false_is_kept() -> None:
    assert chat(store=False).store is False
    assert chat().store is True


@pytest.mark.parametrize(
    "prompt", ["text", ["a", "b"], [1, 2, 3], [[1, 2], [3]]], ids=["text", "texts", "ids", "lists of ids"]
)
def test_every_form_of_prompt_is_taken(prompt: Any) -> None:
    assert completion(prompt=prompt).fields["prompt"] == prompt


@pytest.mark.parametrize(
    ("path", "body", "param"),
    [
        (CHAT_PATH, b"", None),
        (CHAT_PATH, b"{", None),
        (CHAT_PATH, b"\xff\xfe", None),
        (CHAT_PATH, b'{"messages": NaN}', None),
        (CHAT_PATH, b"[]", None),
        (CHAT_PATH, b'"text"', None),
        (CHAT_PATH, b"{}", "messages"),
        (CHAT_PATH, b'{"messages": []}', "messages"),
        (CHAT_PATH, b'{"messages": "hi"}', "messages"),
        (CHAT_PATH, b'{"messages": ["hi"]}', "messages"),
        (CHAT_PATH, b'{"messages": [{"content": "hi"}]}', "messages"),
        (COMPLETIONS_PATH, b"{}", "prompt"),
        (COMPLETIONS_PATH, b'{"prompt": []}', "prompt"),
        (COMPLETIONS_PATH, b'{"prompt": 5}', "prompt"),
        (COMPLETIONS_PATH, b'{"prompt": ["a", 1]}', "prompt"),
        (COMPLETIONS_PATH, b'{"prompt": [true]}', "prompt"),
        (COMPLETIONS_PATH, b'{"prompt": "a", "model": 5}', "model"),
        (COMPLETIONS_PATH, b'{"prompt": "a", "n": 0}', "n"),
        (COMPLETIONS_PATH, b'{"prompt": "a", "n": true}', "n"),
        (COMPLETIONS_PATH, b'{"prompt": "a", "n": 129}', "n"),
        (COMPLETIONS_PATH, b'{"prompt": ["a", "b"], "n": 65}', "n"),
        (COMPLETIONS_PATH, b'{"prompt": "a", "stream": "yes"}', "stream"),
        (COMPLETIONS_PATH, b'{"prompt": "a", "store": 1}', "store"),
        (COMPLETIONS_PATH, b'{"prompt": "a", "seed": 1.5}', "seed"),
        (COMPLETIONS_PATH, b'{"prompt": "a", "seed": true}', "seed"),
        (COMPLETIONS_PATH, b'{"prompt": "a", "seed": 99999999999999999999}', "seed"),
    ],
)
def test_a_mistake_is_400_and_names_the_field(path: str, body: bytes, param: str | None) -> None:
    error = refusal(path, body)
    assert (error.status, error.kind, error.param) == (400, "invalid_request_error", param)


def test_nesting_is_bounded_and_ordinary_nesting_is_not() -> None:
    chat(metadata=nested(MAX_NESTING - 1))
    body = json.dumps({"messages": MESSAGES, "tools": nested(MAX_NESTING)}).encode()
    assert "deep" in refusal(CHAT_PATH, body).message
    assert refusal(CHAT_PATH, b"[" * 100_000).status == 400
    assert refusal(CHAT_PATH, b'{"a":' * 5000 + b"1" + b"}" * 5000).status == 400


def test_the_number_of_containers_is_bounded() -> None:
    body = b'{"a": [' + b"[]," * MAX_CONTAINERS + b"[]]}"
    assert refusal(CHAT_PATH, body).status == 400


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=10,
)
FIELDS = st.sampled_from(["messages", "prompt", "model", "n", "seed", "stream", "store", "request_id"])


@given(st.dictionaries(FIELDS, JSON), st.sampled_from([CHAT_PATH, COMPLETIONS_PATH]))
def test_whatever_json_comes_is_served_or_a_client_error(fields: dict[str, Any], path: str) -> None:
    try:
        request = parse_client_request(path, json.dumps(fields).encode(), MODEL)
    except ApiError as error:
        status = error.status
    else:
        status = 200
        assert json.loads(miner_body(request, "r" * 32, 1))["request_id"] == "r" * 32
    assert status in (200, 400, 404)


@given(st.binary(max_size=200))
def test_whatever_bytes_come_are_a_client_error(body: bytes) -> None:
    assert refusal(CHAT_PATH, body).status == 400
