"""Wrong values of known fields are told at once; values that vLLM takes pass."""

import json
from typing import Any

import pytest

from gateway.client_request import parse_client_request
from gateway.errors import ApiError
from gateway.field_checks import CHECKS
from shared.inference_paths import CHAT_PATH

RIGHT: list[tuple[str, Any]] = [
    ("temperature", 0),
    ("temperature", 1.5),
    ("top_p", 1),
    ("min_p", 0),
    ("top_k", -1),
    ("presence_penalty", -2),
    ("frequency_penalty", 2.0),
    ("repetition_penalty", 1.1),
    ("max_completion_tokens", 1),
    ("max_tokens", 0),
    ("min_tokens", 0),
    ("logprobs", True),
    ("logprobs", 5),
    ("top_logprobs", 20),
    ("stop", "\n"),
    ("stop", ["a", "b"]),
    ("logit_bias", {"5": -100, "6": 0.5}),
    ("tools", []),
    ("tool_choice", "required"),
    ("tool_choice", {"type": "function", "function": {"name": "f"}}),
    ("parallel_tool_calls", False),
    ("response_format", {"type": "json_object"}),
    ("stream_options", {"include_usage": True}),
    ("echo", True),
    ("documents", [{"title": "T", "text": "Some text"}]),
    ("chat_template_kwargs", {"enable_thinking": False}),
    ("reasoning_effort", "none"),
    ("add_generation_prompt", False),
    ("continue_final_message", True),
    ("add_special_tokens", False),
    ("return_token_ids", False),
    ("a_field_nobody_knows", object.__name__),
]

WRONG: list[tuple[str, Any]] = [
    ("documents", [{"title": 5}]),
    ("documents", {"title": "T"}),
    ("chat_template_kwargs", []),
    ("reasoning_effort", 5),
    ("add_generation_prompt", "yes"),
    ("continue_final_message", 1),
    ("add_special_tokens", "no"),
    ("temperature", "hot"),
    ("temperature", -0.1),
    ("temperature", True),
    ("top_p", 0),
    ("top_p", 1.01),
    ("min_p", -1),
    ("top_k", 2.5),
    ("top_k", -2),
    ("presence_penalty", 3),
    ("frequency_penalty", []),
    ("repetition_penalty", 0),
    ("max_completion_tokens", 0),
    ("max_tokens", "many"),
    ("max_tokens", -5),
    ("max_tokens", 10.0),
    ("min_tokens", -1),
    ("logprobs", 21),
    ("logprobs", "yes"),
    ("top_logprobs", 21),
    ("stop", 5),
    ("stop", ["a", 5]),
    ("stop", ["a"] * 65),
    ("logit_bias", {"5": "much"}),
    ("logit_bias", [1]),
    ("tools", {"type": "function"}),
    ("tools", ["f"]),
    ("tool_choice", 1),
    ("parallel_tool_calls", "no"),
    ("response_format", "json"),
    ("stream_options", True),
    ("echo", 1),
    ("return_token_ids", "yes"),
]


def parse(name: str, value: Any) -> Any:
    body = {"messages": [{"role": "user", "content": "Hi"}], name: value}
    return parse_client_request(CHAT_PATH, json.dumps(body).encode(), "model")


@pytest.mark.parametrize(("name", "value"), RIGHT)
def test_right_values_pass_unchanged(name: str, value: Any) -> None:
    assert parse(name, value).fields[name] == value


@pytest.mark.parametrize(("name", "value"), WRONG)
def test_wrong_values_are_400_and_name_the_field(name: str, value: Any) -> None:
    with pytest.raises(ApiError) as caught:
        parse(name, value)
    assert (caught.value.status, caught.value.kind, caught.value.param) == (
        400,
        "invalid_request_error",
        name,
    )
    assert caught.value.message.startswith(f"{name} must be ")


@pytest.mark.parametrize("name", CHECKS)
def test_null_is_as_good_as_nothing(name: str) -> None:
    assert parse(name, None).fields[name] is None


def test_every_check_has_a_right_and_a_wrong_value() -> None:
    assert set(CHECKS) == {name for name, _ in RIGHT if name in CHECKS} == {name for name, _ in WRONG}


def test_a_request_can_not_hide_the_token_ids_that_it_is_audited_by() -> None:
    assert "include_reasoning" not in parse("include_reasoning", False).fields
