import json
from typing import Any

import pytest

from gateway.client_request import miner_body, parse_client_request
from shared.inference_paths import CHAT_PATH, COMPLETIONS_PATH
from validator.synthetic_shapes import Identity, Shape, content_identity, shape_of

IDENTITY = Identity(b"k" * 32)
SECRET = "the words of a client"
CHAT: dict[str, Any] = {
    "temperature": 0.7,
    "messages": [{"role": "system", "content": "Be brief."}, {"role": "user", "content": SECRET}],
    "model": "m",
    "stream": True,
}


def recorded(body: dict[str, Any], path: str = CHAT_PATH) -> dict[str, Any]:
    """The body as the gateway sends it to a miner and records it."""
    request = parse_client_request(path, json.dumps(body).encode(), "m")
    found: dict[str, Any] = json.loads(
        miner_body(request, "request-0001", 5 if request.seed is None else request.seed)
    )
    return found


def shape(body: dict[str, Any], path: str = CHAT_PATH) -> Shape | None:
    return shape_of(path, recorded(body, path), IDENTITY)


def test_a_shape_has_the_clients_fields_in_their_order_and_no_other() -> None:
    found = shape(CHAT)
    assert found is not None
    assert found.fields == ("temperature", "messages", "model", "stream")
    assert found.values == {"temperature": 0.7, "stream": True}
    assert [(turn.role, turn.chars) for turn in found.turns] == [("system", 9), ("user", len(SECRET))]


def test_a_model_that_the_gateway_added_stands_where_it_put_it() -> None:
    found = shape({"messages": CHAT["messages"], "top_p": 1})
    assert found is not None
    assert found.fields == ("messages", "top_p", "model")


def test_only_a_seed_of_the_client_belongs_to_the_shape() -> None:
    without, with_own = shape(CHAT), shape(CHAT | {"seed": 9})
    assert without is not None
    assert with_own is not None
    assert "seed" not in without.fields
    assert with_own.values["seed"] == 9


def test_no_text_of_a_client_is_in_its_shape() -> None:
    for body, path in ((CHAT, CHAT_PATH), ({"model": "m", "prompt": SECRET}, COMPLETIONS_PATH)):
        found = shape(body, path)
        assert found is not None
        assert SECRET not in found.model_dump_json()
        assert "brief" not in found.model_dump_json()
        assert Shape.model_validate_json(found.model_dump_json()) == found


def test_the_same_system_prompt_is_recognised_with_the_key_alone() -> None:
    first, again = shape(CHAT), shape(CHAT | {"top_p": 0.5})
    assert first is not None
    assert first.system is not None
    assert again is not None
    assert again.system == first.system
    with_other_key = shape_of(CHAT_PATH, recorded(CHAT), Identity(b"j" * 32))
    assert with_other_key is not None
    assert with_other_key.system != first.system


def test_the_form_of_messages_is_kept() -> None:
    message = {"content": [{"type": "text", "text": "hello"}], "role": "user"}
    found = shape({"messages": [message]})
    assert found is not None
    assert (found.turns[0].as_parts, found.turns[0].content_first, found.turns[0].chars) == (True, True, 5)


def test_how_often_the_user_has_spoken() -> None:
    talk = [{"role": role, "content": "x"} for role in ("user", "assistant", "user")]
    found = shape({"messages": talk})
    assert found is not None
    assert found.user_turns == 2
    assert found.system is None


@pytest.mark.parametrize(
    "extra",
    [
        {"tools": [{"type": "function", "function": {"name": "f"}}]},
        {"user": "alice"},
        {"stop": [SECRET]},
        {"logit_bias": {"5": 1}},
        {"response_format": {"type": "json_schema", "json_schema": {"name": "s"}}},
        {"stream_options": {"include_usage": "yes"}},
        {"an_invention": 1},
    ],
)
def test_a_request_that_can_not_be_imitated_without_its_clients_words_has_no_shape(
    extra: dict[str, Any],
) -> None:
    assert shape(CHAT | extra) is None


def test_a_recorded_body_whose_types_are_wrong_has_no_shape() -> None:
    assert shape_of(CHAT_PATH, recorded(CHAT) | {"temperature": "0.7"}, IDENTITY) is None


@pytest.mark.parametrize(
    "extra",
    [
        {"stop": ["\n", "###"]},
        {"stop": "\n\n"},
        {"stop": None},
        {"tools": []},
        {"user": None},
        {"response_format": {"type": "json_object"}},
        {"stream_options": {"include_usage": True}},
        {"logprobs": True, "top_logprobs": 2},
    ],
)
def test_harmless_values_are_kept(extra: dict[str, Any]) -> None:
    found = shape(CHAT | extra)
    assert found is not None
    assert {name: found.values[name] for name in extra} == extra


@pytest.mark.parametrize(
    "messages",
    [
        [{"role": "assistant", "content": "x"}],
        [{"role": "user", "content": "x"}, {"role": "assistant", "content": "x"}],
        [{"role": "user", "content": "x"}, {"role": "user", "content": "y"}],
        [{"role": "system", "content": "x"}],
        [{"role": "user", "content": "x", "name": "alice"}],
        [{"role": "user", "content": [{"type": "image_url", "image_url": "x"}]}],
        [{"role": "user", "content": None}],
        [{"role": "user", "content": "x"}] * 101,
    ],
)
def test_an_unusual_conversation_has_no_shape(messages: list[dict[str, Any]]) -> None:
    assert shape({"messages": messages}) is None


def test_token_ids_and_several_prompts_have_no_shape() -> None:
    assert shape({"prompt": [1, 2, 3]}, COMPLETIONS_PATH) is None
    assert shape({"prompt": ["a", "b"]}, COMPLETIONS_PATH) is None
    assert shape_of("/v1/embeddings", recorded(CHAT), IDENTITY) is None


def test_equal_messages_have_one_identity_whatever_the_gateway_adds() -> None:
    assert content_identity(CHAT, IDENTITY) == content_identity(recorded(CHAT), IDENTITY)
    other = CHAT | {"messages": [{"role": "user", "content": "else"}]}
    assert content_identity(CHAT, IDENTITY) != content_identity(other, IDENTITY)
