"""The auditor's reading of sampling parameters, held against vLLM's own."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shared.errors import NotReproducible
from shared.inference_paths import CHAT_PATH, COMPLETIONS_PATH
from shared.sampling_noise import choice_seed
from tests.models import demo_model
from tests.validator.vllm_sampling import CONTEXT, PROMPT_TOKENS, VllmSampling, request_fields
from validator.generation_defaults import GenerationDefaults
from validator.sampling_request import UNSUPPORTED_FIELDS, SamplingRequest
from validator.sampling_rules import SamplingRule, sampling_rule

BASE: dict[str, dict[str, Any]] = {
    CHAT_PATH: {"messages": [{"role": "user", "content": "Hi"}], "seed": 7},
    COMPLETIONS_PATH: {"prompt": "Hi", "seed": 7},
}
PATHS = (CHAT_PATH, COMPLETIONS_PATH)

REQUESTS: dict[str, dict[str, Any]] = {
    "nothing": {},
    "greedy": {"temperature": 0, "top_p": 0.5, "top_k": 3, "min_p": 0.2},
    "almost greedy": {"temperature": 1e-6},
    "common": {"temperature": 0.7, "top_p": 0.9, "top_k": 40, "max_tokens": 100},
    "off": {"top_k": -1, "top_p": 1, "min_p": 0},
    "zero top_k": {"top_k": 0},
    "nulls": {"temperature": None, "top_p": None, "stop": None, "logit_bias": None, "max_tokens": None},
    "min-p": {"min_p": 0.05},
    "penalties": {"presence_penalty": 0.5, "frequency_penalty": -0.5, "repetition_penalty": 1.2},
    "bias": {"logit_bias": {"5": 3, "17": -1000, "18": 1e9}},
    "allowed": {"allowed_token_ids": [3, 4, 900]},
    "bad words": {"bad_words": ["dragon", " dragon", "zażółć gęślą", "a", "dragon"]},
    "one stop": {"stop": "END"},
    "stops": {"stop": ["END", "\n\n"], "include_stop_str_in_output": True, "max_tokens": 9},
    "stop tokens": {"stop_token_ids": [5, 5, 6], "min_tokens": 4},
    "no end": {"ignore_eos": True, "stop_token_ids": [9], "min_tokens": 2},
    "shown": {"skip_special_tokens": False, "spaces_between_special_tokens": False},
    "choices": {"n": 3, "seed": -12},
    "long": {"max_tokens": 100_000},
    "free text": {"response_format": {"type": "text"}, "thinking_token_budget": -1},
    "harmless": {"logprobs": None, "user": "me", "stream": True, "cache_salt": "x", "unknown_field": [1]},
}

GENERATION_CONFIGS: dict[str, dict[str, Any] | None] = {
    "own": None,
    "qwen": {
        "do_sample": True,
        "temperature": 0.7,
        "top_p": 0.8,
        "top_k": 20,
        "repetition_penalty": 1.05,
        "eos_token_id": [2, 0],
    },
    "greedy": {"temperature": 0.0, "max_new_tokens": 77, "eos_token_id": 1},
}


@pytest.fixture(scope="module", params=GENERATION_CONFIGS)
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The demo model's configuration and tokenizer with another generation config."""
    target = tmp_path_factory.mktemp(request.param) / "model"
    shutil.copytree(demo_model(), target, ignore=shutil.ignore_patterns("*.safetensors", "*.calibration"))
    config = GENERATION_CONFIGS[request.param]
    if config is not None:
        (target / "generation_config.json").write_text(json.dumps(config))
    return target


@pytest.fixture(scope="module")
def vllm(folder: Path) -> VllmSampling:
    return VllmSampling(folder)


@pytest.fixture(scope="module")
def defaults(folder: Path) -> GenerationDefaults:
    return GenerationDefaults.load(str(folder))


@pytest.fixture(scope="module")
def plain() -> GenerationDefaults:
    return GenerationDefaults.load(str(demo_model()))


def rule_of(path: str, defaults: GenerationDefaults, **fields: Any) -> SamplingRule:
    return sampling_rule(path, json.dumps({**BASE[path], **fields}), defaults)


def expected(path: str, vllm: VllmSampling, fields: dict[str, Any]) -> dict[str, Any]:
    """What vLLM samples with, in the names of a rule."""
    params = vllm.params(path, {**BASE[path], **fields})
    ends = set(params.stop_token_ids) | ({params.eos_token_id} - {None})
    return {
        "temperature": params.temperature,
        "top_k": max(0, params.top_k),
        "top_p": params.top_p,
        "min_p": params.min_p,
        "presence_penalty": params.presence_penalty,
        "frequency_penalty": params.frequency_penalty,
        "repetition_penalty": params.repetition_penalty,
        "logit_bias": tuple((params.logit_bias or {}).items()),
        "allowed_token_ids": params.allowed_token_ids and tuple(params.allowed_token_ids),
        "bad_words": tuple(tuple(word) for word in params.bad_words_token_ids or ()),
        "min_tokens": params.min_tokens,
        "end_token_ids": frozenset(ends),
        "held_back_token_ids": frozenset(params.all_stop_token_ids),
        "stop": tuple(params.stop),
        "include_stop_str_in_output": params.include_stop_str_in_output,
        "ignore_eos": params.ignore_eos,
        "skip_special_tokens": params.skip_special_tokens,
        "spaces_between_special_tokens": params.spaces_between_special_tokens,
        "seed": params.seed,
        "n": params.n,
    }


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("name", REQUESTS)
def test_the_rule_is_what_vllm_samples_with(
    name: str, path: str, vllm: VllmSampling, defaults: GenerationDefaults
) -> None:
    fields = {**REQUESTS[name]}
    if fields.get("temperature", 1) == 0 or (fields.get("temperature") is None and _greedy(defaults)):
        fields["n"] = 1
    rule = rule_of(path, defaults, **fields)
    for field, value in expected(path, vllm, fields).items():
        assert getattr(rule, field) == value, field
    most = vllm.params(path, {**BASE[path], **fields}).max_tokens
    assert min(rule.max_tokens or CONTEXT, CONTEXT - PROMPT_TOKENS) == most


def _greedy(defaults: GenerationDefaults) -> bool:
    return defaults.sampling.get("temperature") == 0


def test_max_completion_tokens_come_before_max_tokens(plain: GenerationDefaults) -> None:
    assert rule_of(CHAT_PATH, plain, max_tokens=5, max_completion_tokens=9).max_tokens == 9
    assert rule_of(CHAT_PATH, plain, max_tokens=5, max_completion_tokens=None).max_tokens == 5
    assert rule_of(COMPLETIONS_PATH, plain, max_tokens=5, max_completion_tokens=9).max_tokens == 5


def test_chats_without_a_bound_are_bounded_by_the_context_alone(plain: GenerationDefaults) -> None:
    assert rule_of(CHAT_PATH, plain).max_tokens is None
    assert rule_of(COMPLETIONS_PATH, plain).max_tokens == 16


def test_every_field_of_vllms_requests_is_understood_refused_or_known_to_be_harmless() -> None:
    """Fails when another version of vLLM brings a field: decide what it does to the tokens."""
    chat_only = {"max_completion_tokens", "tools", "tool_choice", "parallel_tool_calls"}
    decided = set(SamplingRequest.model_fields) | chat_only | set(UNSUPPORTED_FIELDS) | HARMLESS
    for path in PATHS:
        assert request_fields(path) <= decided


HARMLESS = {
    # They make the prompt, which is checked by itself.
    *("messages", "prompt", "model", "echo", "suffix", "prompt_embeds", "truncate_prompt_tokens"),
    *("truncation_side", "add_generation_prompt", "continue_final_message", "add_special_tokens"),
    *("documents", "chat_template", "chat_template_kwargs", "media_io_kwargs", "mm_processor_kwargs"),
    *("reasoning_effort", "include_reasoning"),
    # They change what is returned beside the tokens.
    *("logprobs", "top_logprobs", "prompt_logprobs", "logprob_token_ids", "stream", "stream_options"),
    *("return_tokens_as_token_ids", "return_token_ids", "return_token_offsets", "return_prompt_text"),
    *("mm_payload", "return_mm_kwargs", "routed_experts_prompt_start", "stream_interval"),
    # They name or order requests.
    *("user", "request_id", "session_id", "priority", "cache_salt"),
    # They only matter to beam search.
    "length_penalty",
}

UNREBUILDABLE: dict[str, dict[str, Any]] = {
    "JSON": {"response_format": {"type": "json_object"}},
    "a schema": {"response_format": {"type": "json_schema", "json_schema": {"name": "x", "schema": {}}}},
    "a regex": {"structured_outputs": {"regex": "a+"}},
    "a guided choice": {"guided_choice": ["yes", "no"]},
    "logits processors": {"logits_processors": ["a.b.c"]},
    "beam search": {"use_beam_search": True},
    "a bounded thought": {"thinking_token_budget": 0},
    "extension arguments": {"vllm_xargs": {"a": 1}},
    "a transfer": {"kv_transfer_params": {"do_remote_prefill": True}},
    "repetition detection": {"repetition_detection": {"max_pattern_size": 4, "min_count": 3}},
    "a watermark": {"watermarking": True},
    "no seed": {"seed": None},
    "vLLM's name for no seed": {"seed": -1},
}


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("fields", UNREBUILDABLE.values(), ids=UNREBUILDABLE)
def test_what_needs_more_than_the_request_is_not_drawn_again(
    fields: dict[str, Any], path: str, plain: GenerationDefaults
) -> None:
    with pytest.raises(NotReproducible, match="the request "):
        rule_of(path, plain, **fields)


STRICT = {"type": "function", "function": {"name": "look_up", "strict": True}}
LOOSE = {"type": "function", "function": {"name": "look_up"}}


@pytest.mark.parametrize(
    "fields",
    [
        {"tools": [LOOSE], "tool_choice": "required"},
        {"tools": [LOOSE], "tool_choice": {"type": "function", "function": {"name": "look_up"}}},
        {"tools": [LOOSE, STRICT]},
        {"tools": [LOOSE], "parallel_tool_calls": False},
    ],
)
def test_tools_that_may_constrain_the_output_are_not_drawn_again(
    fields: dict[str, Any], plain: GenerationDefaults
) -> None:
    with pytest.raises(NotReproducible, match="constrain"):
        rule_of(CHAT_PATH, plain, **fields)


@pytest.mark.parametrize(
    "fields",
    [
        {"tools": [LOOSE]},
        {"tools": [LOOSE], "tool_choice": "auto"},
        {"tools": [STRICT], "tool_choice": "none"},
        {"tool_choice": "none"},
        {"tools": None, "tool_choice": None},
    ],
)
def test_tools_that_the_model_may_ignore_change_nothing(
    fields: dict[str, Any], plain: GenerationDefaults
) -> None:
    assert rule_of(CHAT_PATH, plain, **fields) == rule_of(CHAT_PATH, plain)


def test_greedy_requests_need_no_seed(plain: GenerationDefaults) -> None:
    rule = rule_of(CHAT_PATH, plain, temperature=0, seed=None)
    assert rule.greedy
    assert rule.seed is None


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("temperature", 2.1),
        ("temperature", -0.1),
        ("temperature", "0.5"),
        ("top_p", 0),
        ("top_p", 1.01),
        ("top_k", -2),
        ("top_k", 1.5),
        ("min_p", -0.1),
        ("presence_penalty", 2.5),
        ("repetition_penalty", 0),
        ("n", 0),
        ("seed", 1 << 63),
        ("stop", ""),
        ("stop", ["END", ""]),
        ("min_tokens", -1),
        ("max_tokens", 0),
        ("allowed_token_ids", []),
        ("logit_bias", {"x": 1.0}),
        ("bad_words", [""]),
        ("bad_words", ["  "]),
        ("ignore_eos", None),
    ],
)
@pytest.mark.parametrize("path", PATHS)
def test_values_that_vllm_refuses_name_their_field(
    field: str, value: Any, path: str, plain: GenerationDefaults
) -> None:
    with pytest.raises(NotReproducible, match=f"field {field}"):
        rule_of(path, plain, **{field: value})


@pytest.mark.parametrize("body", ["{", "[]", '"text"', "null", "[" * 50])
def test_bodies_that_are_no_objects_are_refused_in_words(body: str, plain: GenerationDefaults) -> None:
    with pytest.raises(NotReproducible, match="the recorded request is not"):
        sampling_rule(CHAT_PATH, body, plain)


def test_other_paths_are_refused(plain: GenerationDefaults) -> None:
    with pytest.raises(NotReproducible, match="/v1/responses"):
        sampling_rule("/v1/responses", "{}", plain)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=4),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=5,
)


@given(
    fields=st.dictionaries(
        st.sampled_from(sorted({*SamplingRequest.model_fields, "tools", "tool_choice", *UNSUPPORTED_FIELDS})),
        json_values,
        max_size=4,
    ),
    path=st.sampled_from(PATHS),
)
@settings(max_examples=300)
def test_no_request_makes_the_reading_fail_otherwise(fields: dict[str, Any], path: str) -> None:
    defaults = GenerationDefaults({}, None, frozenset({2}), lambda text: [len(text)] if text else [])
    try:
        rule = sampling_rule(path, json.dumps({**BASE[path], **fields}), defaults)
    except NotReproducible:
        pass
    else:
        assert rule.temperature == 0 or 0.01 <= rule.temperature <= 2


def test_the_choices_of_every_prompt_count_their_seeds_up(plain: GenerationDefaults) -> None:
    rule = rule_of(COMPLETIONS_PATH, plain, n=2, seed=2**63 - 1)
    assert [rule.seed_of(choice) for choice in range(4)] == [choice_seed(2**63 - 1, i % 2) for i in range(4)]
    assert rule.seed_of(0) != rule.seed_of(1)
