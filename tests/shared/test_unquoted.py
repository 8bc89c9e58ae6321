"""No reason of an audit repeats what a client wrote, wherever in a request it wrote it."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from shared.errors import NotReproducible
from shared.inference_paths import CHAT_PATH, COMPLETIONS_PATH
from shared.prompt_rendering import PromptRenderer
from tests.validator.auditor_examples import example_record
from tests.validator.example_model import renderer
from tests.validator.vllm_renderer import model_with_template
from validator.delivered_text import _read
from validator.model_tokenizer import load_tokenizer
from validator.request_facts import facts_of
from validator.sampling_request import sampling_request

CANARY = "xyzzy-canary-7f3"
USER = {"role": "user", "content": "hello"}

ODD_CHATS: dict[str, dict[str, Any]] = {
    "a role": {"messages": [{"role": CANARY, "content": 5}]},
    "a role with a task": {"messages": [{"role": CANARY, "content": "x", "task": "y"}]},
    "a type of content": {"messages": [{"role": "user", "content": [{"type": CANARY}]}]},
    "a key of a message": {"messages": [{"role": "user", "content": [{"type": "text", CANARY: 1}]}]},
    "a key of logit_bias": {"messages": [USER], "logit_bias": {CANARY: "x"}},
    "a value of logit_bias": {"messages": [USER], "logit_bias": {"1": CANARY}},
    "a stop string": {"messages": [USER], "stop": [CANARY, 5]},
    "a seed": {"messages": [USER], "seed": CANARY},
    "a temperature": {"messages": [USER], "temperature": CANARY},
    "a tool": {"messages": [USER], "tools": [{"type": CANARY}]},
    "a tool's function": {"messages": [USER], "tools": [{"type": "function", "function": CANARY}]},
    "a tool choice": {"messages": [USER], "tool_choice": {"type": CANARY}},
    "a template argument": {"messages": [USER], "chat_template_kwargs": [CANARY]},
    "a schema": {"messages": [USER], "response_format": {"type": CANARY}},
    "a grammar": {"messages": [USER], "guided_regex": CANARY},
    "documents": {"messages": [USER], "documents": CANARY},
    "a field's name": {"messages": [USER], CANARY: 1},
    "a message that is none": {"messages": [CANARY]},
}

STEPS: dict[str, Callable[[PromptRenderer, str, str], Any]] = {
    "the prompt": lambda rendering, path, body: rendering.prompts(path, body),
    "the sampling": lambda _, path, body: sampling_request(path, body),
    "the text": lambda _, __, body: _read(body),
}


def reasons(rendering: PromptRenderer, path: str, body: dict[str, Any]) -> list[str]:
    found = []
    for step in STEPS.values():
        try:
            step(rendering, path, json.dumps(body))
        except NotReproducible as error:
            found.append(str(error))
    return found


@pytest.mark.parametrize("case", ODD_CHATS)
def test_no_reason_repeats_what_a_client_wrote(case: str) -> None:
    for said in reasons(renderer(), CHAT_PATH, ODD_CHATS[case]):
        assert CANARY not in said


@pytest.mark.parametrize(
    "body", [{"prompt": {CANARY: 1}}, {"prompt": [CANARY, 5]}, {"prompt": CANARY, "n": "x"}]
)
def test_no_reason_repeats_a_prompt(body: dict[str, Any]) -> None:
    said = reasons(renderer(), COMPLETIONS_PATH, body)
    assert said
    assert CANARY not in " ".join(said)


def test_the_cases_do_lead_to_reasons() -> None:
    rendering = renderer()
    odd = [case for case, body in ODD_CHATS.items() if reasons(rendering, CHAT_PATH, body)]
    assert len(odd) >= 12


def test_what_a_template_says_of_a_message_is_not_repeated(tiny_model_folder: Path, tmp_path: Path) -> None:
    quoting = "{{ raise_exception('no ' + messages[0]['content']) }}"
    folder = model_with_template(tiny_model_folder, tmp_path / "model", quoting)
    rendering = PromptRenderer(load_tokenizer(str(folder)))
    (said,) = reasons(rendering, CHAT_PATH, {"messages": [{"role": "user", "content": CANARY}]})
    assert "the chat template refuses it" in said
    assert CANARY not in said


@pytest.mark.parametrize("store", [True, False])
def test_a_miners_words_about_a_failure_are_not_published(store: bool) -> None:
    quoting = example_record(1, outcome="failed").model_copy(
        update={"error": f"it answered HTTP 500: I was asked {CANARY}", "store": store}
    )
    assert CANARY not in facts_of(quoting).model_dump_json()
