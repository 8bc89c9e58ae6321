"""How requests of the Responses API become chats; whatever is sent, the answer is a chat or a 400."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.client_request import client_request
from gateway.errors import ApiError
from gateway.responses_request import chat_fields
from shared.inference_paths import CHAT_PATH
from tests.gateway.test_messages_request import ANYTHING

USER = {"role": "user", "content": "Hello"}


def chat(**fields: Any) -> dict[str, Any]:
    return chat_fields({"model": "m", "input": "Hello"} | fields)


def messages(*items: Any) -> Any:
    return chat(input=list(items))["messages"]


def test_a_text_is_what_the_user_says_and_instructions_come_first() -> None:
    assert chat(instructions="Be brief.")["messages"] == [{"role": "system", "content": "Be brief."}, USER]


def test_plain_fields_keep_their_values_and_those_about_the_service_stay_here() -> None:
    fields = chat(
        max_output_tokens=9,
        temperature=0.5,
        top_p=0.5,
        seed=3,
        store=False,
        user="u",
        service_tier="auto",
        n=3,
    )
    del fields["messages"]
    assert fields == {
        "model": "m",
        "max_tokens": 9,
        "temperature": 0.5,
        "top_p": 0.5,
        "seed": 3,
        "store": False,
    }


def test_items_are_turns_and_calls_belong_to_the_assistant() -> None:
    turns = messages(
        {"type": "message", "role": "developer", "content": [{"type": "input_text", "text": "Be kind."}]},
        USER,
        {"type": "reasoning", "summary": []},
        {"role": "assistant", "content": [{"type": "output_text", "text": "I look."}]},
        {"type": "function_call", "call_id": "c1", "name": "f", "arguments": "{}"},
        {"type": "function_call", "call_id": "c2", "name": "g", "arguments": "{}"},
        {"type": "function_call_output", "call_id": "c1", "output": "42"},
        {"type": "function_call_output", "call_id": "c2", "output": [{"type": "input_text", "text": "43"}]},
    )
    assert [turn["role"] for turn in turns] == ["developer", "user", "assistant", "tool", "tool"]
    assert [call["id"] for call in turns[2]["tool_calls"]] == ["c1", "c2"]
    assert (turns[2]["content"], turns[3]["content"], turns[4]["content"]) == ("I look.", "42", "43")


def test_a_call_without_words_before_it_has_a_message_of_its_own() -> None:
    _, turn = messages(USER, {"type": "function_call", "call_id": "c", "name": "f", "arguments": "{}"})
    assert (turn["role"], turn["content"], len(turn["tool_calls"])) == ("assistant", None, 1)


@pytest.mark.parametrize(
    ("choice", "expected"),
    [
        (None, "auto"),
        ("none", "none"),
        ({"type": "function", "name": "f"}, {"type": "function", "function": {"name": "f"}}),
    ],
)
def test_the_choice_of_functions_has_the_chats_form(choice: Any, expected: Any) -> None:
    assert chat(tools=[{"type": "function", "name": "f"}], tool_choice=choice)["tool_choice"] == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (None, None),
        ({"format": {"type": "text"}, "verbosity": "low"}, None),
        ({"format": {"type": "json_object"}}, {"type": "json_object"}),
    ],
)
def test_the_form_of_the_text_has_the_chats_words(text: Any, expected: Any) -> None:
    assert chat(text=text).get("response_format") == expected


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"input": None}, "input"),
        ({"input": []}, "input"),
        ({"input": [5]}, "input"),
        ({"input": [{"type": "reasoning"}]}, "input"),
        ({"input": [{"type": "item_reference", "id": "x"}]}, "input"),
        ({"input": [{"role": "bot", "content": "x"}]}, "input"),
        ({"input": [{"role": ["user"], "content": "x"}]}, "input"),
        ({"input": [{"role": "user", "content": [{"type": "input_image"}]}]}, "input"),
        ({"input": [{"type": "function_call", "call_id": "c", "name": "f"}]}, "input"),
        ({"instructions": 5}, "instructions"),
        ({"previous_response_id": "resp_1"}, "previous_response_id"),
        ({"conversation": "conv_1"}, "conversation"),
        ({"prompt": {"id": "p"}}, "prompt"),
        ({"background": True}, "background"),
        ({"truncation": "auto"}, "truncation"),
        ({"max_output_tokens": 0}, "max_output_tokens"),
        ({"tools": [{"type": "web_search"}]}, "tools"),
        ({"tools": [{"type": "function"}]}, "tools"),
        ({"tools": [{"type": "function", "name": "f"}], "tool_choice": {"type": "mcp"}}, "tool_choice"),
        ({"text": {"format": {"type": "grammar"}}}, "text"),
        ({"text": 5}, "text"),
        ({"reasoning": "high"}, "reasoning"),
    ],
)
def test_what_can_not_be_served_is_400_and_names_the_field(fields: dict[str, Any], param: str) -> None:
    with pytest.raises(ApiError) as caught:
        chat(**fields)
    assert (caught.value.status, caught.value.param.partition(".")[0] if caught.value.param else None) == (
        400,
        param,
    )


ITEM = st.fixed_dictionaries(
    {"type": st.sampled_from(["message", "function_call", "function_call_output", "reasoning"]) | ANYTHING},
    optional={
        "role": st.sampled_from(["user", "assistant", "developer"]) | ANYTHING,
        **dict.fromkeys(("content", "call_id", "name", "arguments", "output"), ANYTHING),
    },
)
BODY = st.fixed_dictionaries(
    {"input": st.text(max_size=5) | st.lists(ITEM, max_size=4) | ANYTHING},
    optional=dict.fromkeys(
        ("instructions", "tools", "tool_choice", "text", "reasoning", "include", "top_logprobs", "store"),
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
        assert isinstance(message["content"], str) or message.get("tool_calls")
