import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from shared.chat_templates import ChatTemplate
from shared.errors import ModelError, NotReproducible
from shared.inference_paths import CHAT_PATH, COMPLETIONS_PATH
from shared.prompt_rendering import PromptRenderer
from tests.gateway.test_messages_request import ANYTHING
from tests.validator.example_model import renderer
from tests.validator.vllm_renderer import (
    LOOPING_OVER_PARTS,
    TEMPLATES,
    Refused,
    VllmRenderer,
    model_with_template,
)
from validator.model_tokenizer import load_tokenizer

USER = {"role": "user", "content": "What is the capital of Côte d'Ivoire? 🌍"}
CALL = {
    "type": "function",
    "function": {"arguments": '{"b": 1, "a": [2]}', "name": "look_up"},
    "id": "call-1",
}
TOOL = {
    "type": "function",
    "function": {
        "parameters": {"type": "object", "properties": {"q": {"type": "string"}}},
        "name": "look_up",
        "strict": True,
    },
}

CHATS: dict[str, dict[str, Any]] = {
    "one message": {"messages": [USER]},
    "a system prompt": {"messages": [{"role": "system", "content": "Be brief."}, USER]},
    "several turns": {"messages": [USER, {"role": "assistant", "content": "Yamoussoukro"}, USER]},
    "content in parts": {
        "messages": [
            {
                "role": "system",
                "content": [{"type": "text", "text": "One."}, {"type": "text", "text": "Two."}],
            },
            {"role": "user", "content": [{"type": "text", "text": "Three"}]},
        ]
    },
    "tools": {"messages": [USER], "tools": [TOOL]},
    "tools that must not be called": {"messages": [USER], "tools": [TOOL], "tool_choice": "none"},
    "a tool without description or parameters": {
        "messages": [USER],
        "tools": [{"type": "function", "function": {"name": "now", "description": "the time"}}],
    },
    "tool calls and their results": {
        "messages": [
            USER,
            {"role": "assistant", "content": None, "tool_calls": [CALL]},
            {"role": "tool", "tool_call_id": "call-1", "content": [{"type": "text", "text": "Abidjan"}]},
        ],
        "tools": [TOOL],
    },
    "tool calls with broken arguments": {
        "messages": [
            USER,
            {
                "role": "assistant",
                "content": "",
                "tool_calls": [{**CALL, "function": {"name": "f", "arguments": "{"}}],
            },
            {"role": "tool", "tool_call_id": "call-1", "content": "?"},
        ]
    },
    "empty tool calls": {"messages": [USER, {"role": "assistant", "content": "No.", "tool_calls": []}, USER]},
    "a developer message": {
        "messages": [
            {"role": "system", "content": "First."},
            {"role": "developer", "content": "Second."},
            USER,
        ]
    },
    "a developer message alone": {"messages": [{"role": "developer", "content": "Be brief."}, USER]},
    "two system messages": {
        "messages": [{"role": "system", "content": "A"}, USER, {"role": "system", "content": "B"}]
    },
    "reasoning": {
        "messages": [USER, {"role": "assistant", "content": "A.", "reasoning_content": "Think."}, USER]
    },
    "names": {"messages": [{**USER, "name": "Ann"}]},
    "no generation prompt": {"messages": [USER], "add_generation_prompt": False},
    "a message to continue": {
        "messages": [USER, {"role": "assistant", "content": "The capital is"}],
        "add_generation_prompt": False,
        "continue_final_message": True,
    },
    "special tokens": {"messages": [USER], "add_special_tokens": True},
    "template arguments": {"messages": [USER], "chat_template_kwargs": {"enable_thinking": False, "x": None}},
    "template arguments that lose": {
        "messages": [USER],
        "chat_template_kwargs": {"add_generation_prompt": False},
    },
    "reasoning effort": {"messages": [USER], "reasoning_effort": "none"},
    "documents": {"messages": [USER], "documents": [{"title": "T", "text": "Some text"}]},
    "the last tokens only": {"messages": [USER], "truncate_prompt_tokens": 9},
    "the first tokens only": {"messages": [USER], "truncate_prompt_tokens": 9, "truncation_side": "right"},
    "special tokens in the text": {
        "messages": [{"role": "user", "content": "<|im_end|>\n<|im_start|>system"}]
    },
    "a refusal": {
        "messages": [
            USER,
            {"role": "assistant", "content": [{"type": "refusal", "refusal": "I can't."}]},
            USER,
        ]
    },
}

COMPLETIONS: dict[str, dict[str, Any]] = {
    "a text": {"prompt": "Once upon a time"},
    "texts": {"prompt": ["Once", "upon a time"]},
    "token ids": {"prompt": [5, 6, 7]},
    "lists of token ids": {"prompt": [[5, 6], [7]]},
    "no special tokens": {"prompt": "Once", "add_special_tokens": False},
    "the last token ids only": {"prompt": [5, 6, 7], "truncate_prompt_tokens": 2},
    "a text that is cut": {"prompt": "Once upon a time in a land", "truncate_prompt_tokens": 3},
    "an echo": {"prompt": "Once", "echo": True},
}


@pytest.fixture(scope="module")
def folders(tiny_model_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    base = tmp_path_factory.mktemp("templates")
    return {
        name: model_with_template(tiny_model_folder, base / name, text) for name, text in TEMPLATES.items()
    }


@pytest.fixture(scope="module")
def vllm(folders: dict[str, Path]) -> dict[str, VllmRenderer]:
    return {name: VllmRenderer(folder) for name, folder in folders.items()}


@pytest.fixture(scope="module")
def ours(folders: dict[str, Path]) -> dict[str, PromptRenderer]:
    return {name: PromptRenderer(load_tokenizer(str(folder))) for name, folder in folders.items()}


@pytest.mark.parametrize("template", TEMPLATES)
@pytest.mark.parametrize("case", CHATS)
def test_chats_are_rendered_as_vllm_renders_them(
    template: str, case: str, ours: dict[str, PromptRenderer], vllm: dict[str, VllmRenderer]
) -> None:
    body = {"model": "m", **CHATS[case]}
    expected = vllm[template].prompts(CHAT_PATH, json.loads(json.dumps(body)))
    assert ours[template].prompts(CHAT_PATH, json.dumps(body)) == expected


@pytest.mark.parametrize(
    "fields",
    [
        {"continue_final_message": True},
        {"chat_template": "{{ 1 }}"},
        {"chat_template_kwargs": {"chat_template": "{{ 1 }}"}},
    ],
)
def test_what_vllm_refuses_is_not_rendered(
    fields: dict[str, Any], ours: dict[str, PromptRenderer], vllm: dict[str, VllmRenderer]
) -> None:
    body = {"model": "m", "messages": [USER], **fields}
    with pytest.raises(Refused):
        vllm["own"].prompts(CHAT_PATH, dict(body))
    with pytest.raises(NotReproducible):
        ours["own"].prompts(CHAT_PATH, json.dumps(body))


@pytest.mark.parametrize("case", COMPLETIONS)
def test_completions_are_tokenised_as_vllm_tokenises_them(
    case: str, ours: dict[str, PromptRenderer], vllm: dict[str, VllmRenderer]
) -> None:
    body = {"model": "m", **COMPLETIONS[case]}
    expected = vllm["own"].prompts(COMPLETIONS_PATH, dict(body))
    assert ours["own"].prompts(COMPLETIONS_PATH, json.dumps(body)) == expected


def test_the_cases_are_not_all_the_same_prompt(ours: dict[str, PromptRenderer]) -> None:
    for template, renders in ours.items():
        rendered = set()
        for case in ("one message", "a system prompt", "several turns", "special tokens in the text"):
            rendered.add(tuple(renders.prompts(CHAT_PATH, json.dumps(CHATS[case]))[0]))
        assert len(rendered) >= 3, template


@settings(deadline=None)
@given(text=st.text(max_size=80))
def test_any_text_is_rendered_alike_twice_and_differs_from_another(text: str) -> None:
    def prompt(content: str) -> list[int]:
        [ids] = renderer().prompts(
            CHAT_PATH, json.dumps({"messages": [{"role": "user", "content": content}]})
        )
        return ids

    assert prompt(text) == prompt(text)
    assert prompt(text) != prompt(text + " more")


WORD = st.sampled_from(["text", "refusal", "image_url", "function", ""])
PART = st.fixed_dictionaries(
    {"type": WORD | ANYTHING}, optional=dict.fromkeys(("text", "refusal", "image_url"), ANYTHING)
)
TOO_DEEP, TOO_LARGE, HALF_A_CHARACTER = "[" * 5000, "1" * 5000, '{"a": "\\ud800"}'
FUNCTION = st.fixed_dictionaries(
    {},
    optional={
        "name": st.just("f") | ANYTHING,
        "arguments": st.sampled_from(["{}", "{", TOO_DEEP, TOO_LARGE, HALF_A_CHARACTER]) | ANYTHING,
    },
)
TOOL_CALL = st.fixed_dictionaries(
    {},
    optional={
        "id": st.just("c") | ANYTHING,
        "type": st.just("function") | ANYTHING,
        "function": FUNCTION | ANYTHING,
    },
)
MESSAGE = st.fixed_dictionaries(
    {"role": st.sampled_from(["user", "assistant", "system", "tool", "developer", "odd"]) | ANYTHING},
    optional={
        "content": st.text(max_size=4) | st.lists(PART | ANYTHING, max_size=3) | ANYTHING,
        "tool_calls": st.lists(TOOL_CALL | ANYTHING, max_size=2) | ANYTHING,
        **dict.fromkeys(("tool_call_id", "name", "reasoning", "reasoning_content", "tools"), ANYTHING),
    },
)
OTHER_FIELDS = ("tools", "documents", "chat_template_kwargs", "reasoning_effort", "continue_final_message")


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(
    body=st.fixed_dictionaries(
        {"messages": st.lists(MESSAGE, max_size=3) | ANYTHING}, optional=dict.fromkeys(OTHER_FIELDS, ANYTHING)
    )
)
def test_any_body_is_rendered_or_can_not_be_rebuilt(
    ours: dict[str, PromptRenderer], body: dict[str, Any]
) -> None:
    for template, renders in ours.items():
        try:
            [prompt] = renders.prompts(CHAT_PATH, json.dumps(body))
        except NotReproducible:
            continue
        assert all(type(token_id) is int for token_id in prompt), template


def with_arguments(arguments: str) -> str:
    call = {**CALL, "function": {"name": "f", "arguments": arguments}}
    return json.dumps({"messages": [USER, {"role": "assistant", "content": "", "tool_calls": [call]}]})


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ({"messages": [{"role": "user", "content": [{"type": []}]}]}, "an unknown type"),
        ({"messages": [{"role": "user", "content": [{"type": {}}]}]}, "an unknown type"),
        ({"messages": [{"role": "assistant", "tool_calls": 5}]}, "not a list"),
        (with_arguments(TOO_DEEP), "nest too deep"),
        (with_arguments(TOO_LARGE), "too large a number"),
        (with_arguments(HALF_A_CHARACTER), "half a character"),
        ('{"messages": ' + "[" * 100_000, "not JSON"),
    ],
)
def test_what_would_break_a_parser_can_not_be_rebuilt(
    ours: dict[str, PromptRenderer], body: Any, reason: str
) -> None:
    with pytest.raises(NotReproducible, match=reason):
        ours["qwen"].prompts(CHAT_PATH, body if isinstance(body, str) else json.dumps(body))


def test_each_prompt_comes_once_for_every_choice() -> None:
    body = json.dumps({"prompt": ["One", "Two words"], "n": 2})
    first, second, third, fourth = renderer().prompts(COMPLETIONS_PATH, body)
    assert first == second != third == fourth


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {}}]}]}, "image_url"),
        ({"messages": [USER], "chat_template": "{{ 1 }}"}, "chat_template"),
        ({"messages": [USER], "chat_template_kwargs": {"chat_template": "x"}}, "redefine chat_template"),
        ({"messages": [USER], "chat_template_kwargs": {"tokenize": True}}, "redefine tokenize"),
        ({"messages": [USER], "mm_processor_kwargs": {"a": 1}}, "mm_processor_kwargs"),
        ({"messages": [USER], "kv_transfer_params": {"prompt_token_ids": [1]}}, "kv_transfer_params"),
        ({"messages": [USER], "truncate_prompt_tokens": -1}, "depends on the miner"),
        ({"messages": [USER], "use_beam_search": True}, "beam search"),
        ({"messages": [USER], "n": 10**9}, "field n"),
        ({"messages": "hello"}, "field messages"),
        ({"messages": [{"content": "no role"}]}, "no role"),
        ({"messages": [{"role": "user", "content": 5}]}, "neither text nor a list"),
        ({"messages": [USER], "tools": [{"type": "function"}]}, "not of the type function"),
        ({}, "field messages"),
        ({"messages": [{"role": "system", "content": "x-anthropic-billing-header: 1"}]}, "billing header"),
        ({"messages": [{**USER, "task": "x"}]}, "task"),
        ({"messages": [{"role": "assistant", "tool_calls": [{"type": "odd"}]}]}, "tool call"),
        ({"messages": [{"role": "assistant", "tool_calls": [{**CALL, "extra": 1}]}]}, "fields of its own"),
    ],
)
def test_what_can_not_be_rebuilt_says_so(fields: dict[str, Any], reason: str) -> None:
    with pytest.raises(NotReproducible, match=reason):
        renderer().prompts(CHAT_PATH, json.dumps(fields))


@pytest.mark.parametrize("body", ["", "[]", "{", "nul", '"text"'])
def test_a_body_that_is_no_object_can_not_be_rebuilt(body: str) -> None:
    with pytest.raises(NotReproducible, match="JSON"):
        renderer().prompts(CHAT_PATH, body)


@pytest.mark.parametrize(
    "fields", [{"prompt": "a", "suffix": "b"}, {"prompt": "a", "echo": True, "max_tokens": 0}]
)
def test_completions_that_can_not_be_rebuilt_say_so(fields: dict[str, Any]) -> None:
    with pytest.raises(NotReproducible):
        renderer().prompts(COMPLETIONS_PATH, json.dumps(fields))


def test_other_paths_are_not_rendered() -> None:
    with pytest.raises(NotReproducible, match="/v1/embeddings"):
        renderer().prompts("/v1/embeddings", "{}")


def test_fields_of_parts_matter_only_to_templates_that_see_them(ours: dict[str, PromptRenderer]) -> None:
    part = {"type": "text", "text": "Hi", "cache_control": {"type": "ephemeral"}}
    body = json.dumps({"messages": [{"role": "user", "content": [part]}]})
    plain = json.dumps({"messages": [{"role": "user", "content": "Hi"}]})
    assert ours["own"].prompts(CHAT_PATH, body) == ours["own"].prompts(CHAT_PATH, plain)
    with pytest.raises(NotReproducible, match="fields of its own"):
        ours["parts"].prompts(CHAT_PATH, body)


def test_a_template_that_reads_the_clock_can_not_be_rendered_again(
    tiny_model_folder: Path, tmp_path: Path
) -> None:
    folder = model_with_template(tiny_model_folder, tmp_path / "model", "{{ strftime_now('%Y') }}")
    with pytest.raises(NotReproducible, match="date"):
        PromptRenderer(load_tokenizer(str(folder))).prompts(CHAT_PATH, json.dumps({"messages": [USER]}))


def test_a_template_that_refuses_the_request_is_nobodys_fault(
    tiny_model_folder: Path, tmp_path: Path
) -> None:
    folder = model_with_template(tiny_model_folder, tmp_path / "model", "{{ raise_exception('never') }}")
    with pytest.raises(NotReproducible, match="the chat template refuses it"):
        PromptRenderer(load_tokenizer(str(folder))).prompts(CHAT_PATH, json.dumps({"messages": [USER]}))


def test_a_broken_template_is_the_auditors_trouble() -> None:
    with pytest.raises(ModelError, match="Jinja"):
        ChatTemplate.parse("{% for %}")


def test_loops_over_parts_are_told_from_text() -> None:
    assert ChatTemplate.parse(LOOPING_OVER_PARTS).loops_over_parts
    assert not ChatTemplate.parse("{% for m in messages %}{{ m.content }}{% endfor %}").loops_over_parts


def test_a_folder_without_a_tokenizer_is_named(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=str(tmp_path)):
        PromptRenderer(load_tokenizer(str(tmp_path)))
