"""What the fields of a request may hold: only those of a common, simple type; miners check all others.

A wrong field is told at once, with its name, and costs no miner an answer. Ranges are vLLM's own
(`vllm/sampling_params.py`, `_verify_args`).
"""

import math
from collections.abc import Callable, Mapping
from typing import Any

from gateway.errors import invalid_request

MOST_STOPS = 64
"""Stop strings that a request may have; OpenAI allows 4."""

MOST_LOGPROBS = 20
"""Alternatives to each token, as OpenAI and vLLM allow by default."""

Check = Callable[[Any], bool]

_INT32_LIMIT = 1 << 31


def _number(low: float, high: float, low_allowed: bool = True) -> Check:
    def check(value: Any) -> bool:
        if type(value) not in (int, float) or not math.isfinite(value):
            return False
        return low <= value <= high and (low_allowed or value > low)

    return check


def _whole(low: int, high: int = _INT32_LIMIT) -> Check:
    return lambda value: type(value) is int and low <= value <= high


def _is_stop(value: Any) -> bool:
    if isinstance(value, str):
        return True
    return isinstance(value, list) and len(value) <= MOST_STOPS and all(isinstance(one, str) for one in value)


def _is_objects(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(one, dict) for one in value)


def _is_documents(value: Any) -> bool:
    return _is_objects(value) and all(isinstance(text, str) for one in value for text in one.values())


def _is_text(value: Any) -> bool:
    return isinstance(value, str)


def _is_biases(value: Any) -> bool:
    return isinstance(value, dict) and all(type(bias) in (int, float) for bias in value.values())


def _is_object(value: Any) -> bool:
    return isinstance(value, dict)


def _is_bool(value: Any) -> bool:
    return isinstance(value, bool)


def _is_count_or_flag(value: Any) -> bool:
    return isinstance(value, bool) or _whole(0, MOST_LOGPROBS)(value)


def _is_choice(value: Any) -> bool:
    return isinstance(value, (str, dict))


_NUMBER_OF_TOKENS = "a whole number of tokens from 1"
CHECKS: Mapping[str, tuple[Check, str]] = {
    "temperature": (_number(0, 100), "a number from 0"),
    "top_p": (_number(0, 1, low_allowed=False), "a number above 0 and at most 1"),
    "min_p": (_number(0, 1), "a number from 0 to 1"),
    "top_k": (_whole(-1), "a whole number; 0 or -1 for no limit"),
    "presence_penalty": (_number(-2, 2), "a number from -2 to 2"),
    "frequency_penalty": (_number(-2, 2), "a number from -2 to 2"),
    "repetition_penalty": (_number(0, 100, low_allowed=False), "a number above 0"),
    "max_completion_tokens": (_whole(1), _NUMBER_OF_TOKENS),
    "max_tokens": (_whole(0), _NUMBER_OF_TOKENS),
    "min_tokens": (_whole(0), "a whole number of tokens from 0"),
    "logprobs": (_is_count_or_flag, f"true or false, or for completions a number from 0 to {MOST_LOGPROBS}"),
    "top_logprobs": (_whole(-1, MOST_LOGPROBS), f"a whole number from 0 to {MOST_LOGPROBS}"),
    "stop": (_is_stop, f"a text, or a list of at most {MOST_STOPS}"),
    "logit_bias": (_is_biases, "an object of token ids and numbers"),
    "tools": (_is_objects, "a list of objects"),
    "tool_choice": (_is_choice, 'one of "none", "auto" and "required", or an object that names a function'),
    "parallel_tool_calls": (_is_bool, "true or false"),
    "response_format": (_is_object, "an object with a type"),
    "stream_options": (_is_object, "an object"),
    "documents": (_is_documents, "a list of objects that hold texts"),
    "chat_template_kwargs": (_is_object, "an object"),
    "reasoning_effort": (_is_text, "a text"),
    "add_generation_prompt": (_is_bool, "true or false"),
    "continue_final_message": (_is_bool, "true or false"),
    "add_special_tokens": (_is_bool, "true or false"),
    "echo": (_is_bool, "true or false"),
    "return_token_ids": (_is_bool, "true or false"),
}
"""By field: what its value must satisfy, and that in words. A null is as good as no field."""


def check_fields(fields: Mapping[str, Any]) -> None:
    """Check the types and ranges of the fields that are known here.

    Raises:
        ApiError: 400; names the field, and says what is expected.
    """
    for name, value in fields.items():
        known = CHECKS.get(name)
        if known is not None and value is not None and not known[0](value):
            raise invalid_request(f"{name} must be {known[1]}.", name)
