"""The tokenizer without transformers gives what transformers gives, which in turn is compared with vLLM."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shared.errors import ModelError, NotReproducible
from shared.inference_paths import CHAT_PATH, COMPLETIONS_PATH
from shared.prompt_rendering import PromptRenderer
from shared.text_tokenizer import TextTokenizer
from tests.models import demo_model
from tests.validator.test_prompt_rendering import CHATS, COMPLETIONS, USER
from tests.validator.vllm_renderer import TEMPLATES, model_with_template
from validator.model_tokenizer import load_tokenizer

TEMPLATES_HERE: dict[str, str | None] = {
    **TEMPLATES,
    "generation": "{% for m in messages %}{% generation %}{{ m.content }}{% endgeneration %}{% endfor %}",
    "loop controls": "{% for m in messages %}{% if loop.index > 1 %}{% break %}{% endif %}{{ m.role }}"
    "{% endfor %}{{ bos_token }}{{ eos_token }}",
    "json": "{{ messages | tojson(indent=2, sort_keys=True) }}{{ tools | tojson(separators=(',', ':')) }}",
}


def outcome(renderer: PromptRenderer, path: str, body: dict[str, Any]) -> Any:
    try:
        return renderer.prompts(path, json.dumps(body))
    except NotReproducible:
        return "refused"


@pytest.fixture(scope="module")
def both(
    demo_model_folder: Path, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, tuple[PromptRenderer, PromptRenderer]]:
    base = tmp_path_factory.mktemp("templates")
    folders = {
        name: model_with_template(demo_model_folder, base / name, text)
        for name, text in TEMPLATES_HERE.items()
    }
    return {
        name: (PromptRenderer(TextTokenizer.load(folder)), PromptRenderer(load_tokenizer(str(folder))))
        for name, folder in folders.items()
    }


@pytest.mark.parametrize("template", TEMPLATES_HERE)
@pytest.mark.parametrize("case", CHATS)
def test_chats_have_the_tokens_that_transformers_gives_them(
    template: str, case: str, both: dict[str, tuple[PromptRenderer, PromptRenderer]]
) -> None:
    ours, theirs = both[template]
    assert outcome(ours, CHAT_PATH, CHATS[case]) == outcome(theirs, CHAT_PATH, CHATS[case])


@pytest.mark.parametrize("case", COMPLETIONS)
def test_completions_have_the_tokens_that_transformers_gives_them(
    case: str, both: dict[str, tuple[PromptRenderer, PromptRenderer]]
) -> None:
    ours, theirs = both["own"]
    assert outcome(ours, COMPLETIONS_PATH, COMPLETIONS[case]) == outcome(
        theirs, COMPLETIONS_PATH, COMPLETIONS[case]
    )


@given(text=st.text(max_size=200))
@settings(max_examples=200)
def test_any_text_has_the_tokens_that_transformers_gives_it(text: str) -> None:
    folder = demo_model()
    ours, theirs = TextTokenizer.load(folder), _theirs(str(folder))
    ids = ours(text)["input_ids"]
    assert ids == theirs(text)["input_ids"]
    assert ours.text(ids) == theirs.decode(ids)


_LOADED: dict[str, Any] = {}


def _theirs(folder: str) -> Any:
    if folder not in _LOADED:
        _LOADED[folder] = load_tokenizer(folder)
    return _LOADED[folder]


def test_the_template_in_the_tokenizers_configuration_is_used_too(
    demo_model_folder: Path, tmp_path: Path
) -> None:
    folder = model_with_template(demo_model_folder, tmp_path / "model", "unused")
    (folder / "chat_template.jinja").unlink()
    config = json.loads((folder / "tokenizer_config.json").read_text())
    for given_template in ("{{ 'one' }}", [{"name": "default", "template": "{{ 'one' }}"}]):
        (folder / "tokenizer_config.json").write_text(json.dumps(config | {"chat_template": given_template}))
        assert TextTokenizer.load(folder).apply_chat_template([USER]) == "one"


def test_tools_have_a_template_of_their_own_where_the_model_has_one(
    demo_model_folder: Path, tmp_path: Path
) -> None:
    folder = model_with_template(demo_model_folder, tmp_path / "model", "unused")
    (folder / "chat_template.jinja").unlink()
    named = [{"name": "default", "template": "plain"}, {"name": "tool_use", "template": "tools"}]
    (folder / "tokenizer_config.json").write_text(json.dumps({"chat_template": named}))
    tokenizer = TextTokenizer.load(folder)
    assert tokenizer.apply_chat_template([USER]) == "plain"
    assert tokenizer.apply_chat_template([USER], tools=[{}]) == "tools"


def test_a_model_without_template_renders_no_chat(demo_model_folder: Path, tmp_path: Path) -> None:
    folder = model_with_template(demo_model_folder, tmp_path / "model", "unused")
    (folder / "chat_template.jinja").unlink()
    renderer = PromptRenderer(TextTokenizer.load(folder))
    with pytest.raises(NotReproducible, match="no chat template"):
        renderer.prompts(CHAT_PATH, json.dumps({"messages": [USER]}))


@pytest.mark.parametrize("damage", [None, "{", '{"version": 1}'])
def test_a_folder_without_a_whole_tokenizer_is_named(tmp_path: Path, damage: str | None) -> None:
    if damage is not None:
        (tmp_path / "tokenizer.json").write_text(damage)
    with pytest.raises(ModelError, match=str(tmp_path)):
        TextTokenizer.load(tmp_path)


def test_ids_outside_the_vocabulary_have_no_token(demo_model_folder: Path) -> None:
    assert TextTokenizer.load(demo_model_folder).tokens([0, 10**6]) == ["<|endoftext|>", None]
