"""How messages of Anthropic's API become chats; whatever is sent, the answer is a chat or a 400."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.client_request import client_request
from gateway.errors import ApiError
from gateway.messages_request import chat_fields
from shared.inference_paths import CHAT_PATH

USER = {"role": "user", "content": "Hello"}
TOOL: dict[str, Any] = {"name": "f", "input_schema": {"properties": {"a": {"type": "string"}}}}


def chat(**fields: Any) -> dict[str, Any]:
    return chat_fields({"model": "m", "max_tokens": 5, "messages": [USER]} | fields)


def messages(*given_messages: Any) -> Any:
    return chat(messages=list(given_messages))["messages"]


def test_plain_fields_keep_their_values_and_unknown_ones_pass() -> None:
    fields = chat(temperature=0.5, top_p=0.9, top_k=3, stream=True, min_p=0.1, seed=7, store=False)
    assert fields == {
        "model": "m",
        "max_tokens": 5,
        "messages": [USER],
        "temperature": 0.5,
        "top_p": 0.9,
        "top_k": 3,
        "stream": True,
        "min_p": 0.1,
        "seed": 7,
        "store": False,
    }


def test_stop_sequences_are_stops_and_metadata_stays_here() -> None:
    fields = chat(stop_sequences=["###"], metadata={"user_id": "secret"}, n=4)
    assert fields["stop"] == ["###"]
    assert "secret" not in json.dumps(fields)
    assert "n" not in fields


@pytest.mark.parametrize(
    ("system", "expected"),
    [
        ("Be brief.", "Be brief."),
        (
            [{"type": "text", "text": "One.", "cache_control": {}}, {"type": "text", "text": "Two."}],
            "One.\nTwo.",
        ),
        ([{"type": "text", "text": "x-anthropic-billing-header: 1"}, {"type": "text", "text": "A"}], "A"),
    ],
)
def test_the_system_prompt_is_the_first_message(system: Any, expected: str) -> None:
    assert chat(system=system)["messages"] == [{"role": "system", "content": expected}, USER]


def test_blocks_of_text_are_lines() -> None:
    blocks = [{"type": "text", "text": "One."}, {"type": "text", "text": "Two."}]
    assert messages({"role": "user", "content": blocks}) == [{"role": "user", "content": "One.\nTwo."}]


def test_uses_and_results_of_tools_are_calls_and_tool_messages() -> None:
    used = {"type": "tool_use", "id": "t1", "name": "f", "input": {"a": "é"}}
    result = {"type": "tool_result", "tool_use_id": "t1", "content": [{"type": "text", "text": "42"}]}
    thought = {"type": "thinking", "thinking": "Hm", "signature": "s"}
    turns = messages(
        USER,
        {"role": "assistant", "content": [thought, {"type": "text", "text": "I look."}, used]},
        {"role": "user", "content": [result, {"type": "text", "text": "And now?"}]},
    )
    call = {"id": "t1", "type": "function", "function": {"name": "f", "arguments": '{"a":"é"}'}}
    assert turns == [
        USER,
        {"role": "assistant", "content": "I look.", "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "t1", "content": "42"},
        {"role": "user", "content": "And now?"},
    ]


def test_a_call_without_words_has_no_content_and_an_empty_turn_has_an_empty_one() -> None:
    used = {"type": "tool_use", "id": "t1", "name": "f", "input": {}}
    called, silent = messages({"role": "assistant", "content": [used]}, {"role": "assistant", "content": []})
    assert called["content"] is None
    assert silent == {"role": "assistant", "content": ""}


def test_a_result_without_content_is_empty() -> None:
    result = {"type": "tool_result", "tool_use_id": "t1"}
    assert messages({"role": "user", "content": [result]})[0]["content"] == ""


@pytest.mark.parametrize(
    ("choice", "expected"),
    [
        (None, {"tool_choice": "auto"}),
        ({"type": "auto"}, {"tool_choice": "auto"}),
        ({"type": "any"}, {"tool_choice": "required"}),
        ({"type": "none"}, {"tool_choice": "none"}),
        ({"type": "tool", "name": "f"}, {"tool_choice": {"type": "function", "function": {"name": "f"}}}),
        (
            {"type": "auto", "disable_parallel_tool_use": True},
            {"tool_choice": "auto", "parallel_tool_calls": False},
        ),
    ],
)
def test_the_choice_of_tools_has_openais_words(choice: Any, expected: dict[str, Any]) -> None:
    fields = chat(tools=[TOOL], tool_choice=choice)
    assert {name: fields[name] for name in expected} == expected
    assert fields["tools"][0]["function"]["parameters"] == {"type": "object", **TOOL["input_schema"]}


def test_a_wanted_form_is_a_json_schema() -> None:
    schema = {"type": "object", "properties": {}}
    fields = chat(output_config={"format": {"type": "json_schema", "schema": schema}})
    assert fields["response_format"]["json_schema"]["schema"] == schema


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"max_tokens": None}, "max_tokens"),
        ({"max_tokens": 0}, "max_tokens"),
        ({"messages": None}, "messages"),
        ({"messages": []}, "at least one"),
        ({"messages": [{"role": "bot", "content": "x"}]}, "role"),
        ({"messages": [{"role": "user", "content": 5}]}, "messages.0.content"),
        ({"messages": [{"role": "user", "content": [{"type": "image", "source": {}}]}]}, "text only"),
        ({"messages": [{"role": "user", "content": [{"type": "text", "text": 5}]}]}, "content.0.text"),
        ({"messages": [{"role": "user", "content": [{"type": "tool_result"}]}]}, "tool_use_id"),
        ({"messages": [{"role": "assistant", "content": [{"type": "tool_use", "input": 1}]}]}, "input"),
        ({"system": 5}, "system"),
        ({"tools": [{"type": "web_search_20250305", "name": "w"}]}, "runs no tools"),
        ({"tools": [{"name": "f"}]}, "input_schema"),
        ({"tools": [TOOL], "tool_choice": {"type": ["any"]}}, "tool_choice"),
        ({"tools": [TOOL], "tool_choice": "any"}, "tool_choice"),
        ({"tools": [TOOL], "tool_choice": {"type": "tool"}}, "tool_choice.name"),
        ({"thinking": {"type": "enabled", "budget_tokens": 2000}}, "does not think"),
        ({"mcp_servers": []}, "mcp_servers"),
        ({"output_config": {"format": 5}}, "output_config"),
    ],
)
def test_what_can_not_be_served_is_400_and_says_why(fields: dict[str, Any], words: str) -> None:
    with pytest.raises(ApiError) as caught:
        chat(**fields)
    assert caught.value.status == 400
    assert words in caught.value.message


ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 5) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)
KINDS = st.sampled_from(["text", "tool_use", "tool_result", "image", "thinking", "other"])
BLOCK = st.fixed_dictionaries(
    {"type": KINDS | ANYTHING},
    optional=dict.fromkeys(("text", "id", "name", "input", "tool_use_id", "content"), ANYTHING),
)
MESSAGE = st.fixed_dictionaries(
    {
        "role": st.sampled_from(["user", "assistant", "system"]) | ANYTHING,
        "content": st.text(max_size=5) | st.lists(BLOCK, max_size=4) | ANYTHING,
    }
)
BODY = st.fixed_dictionaries(
    {"max_tokens": st.integers(1, 9) | ANYTHING, "messages": st.lists(MESSAGE, max_size=4) | ANYTHING},
    optional=dict.fromkeys(
        (
            *("system", "tools", "tool_choice", "thinking", "output_config", "stop_sequences"),
            *("temperature", "stream", "metadata", "mcp_servers"),
        ),
        ANYTHING,
    ),
)


@given(BODY)
def test_any_body_becomes_a_chat_or_a_400(body: dict[str, Any]) -> None:
    status, request = 200, None
    try:
        request = client_request(CHAT_PATH, chat_fields(body), "model")
    except ApiError as error:
        status = error.status
    assert status == (400 if request is None else 200)
    for message in request.fields["messages"] if request else ():
        assert message["role"] in ("user", "assistant", "system", "tool")
        assert isinstance(message["content"], str) or message.get("tool_calls")


@given(st.lists(st.lists(st.text(max_size=8), min_size=1, max_size=3), min_size=1, max_size=4))
def test_every_word_of_the_user_reaches_the_model_in_order(turns: list[list[str]]) -> None:
    sent = [
        {"role": "user", "content": [{"type": "text", "text": text} for text in texts]} for texts in turns
    ]
    assert [message["content"] for message in messages(*sent)] == ["\n".join(texts) for texts in turns]
