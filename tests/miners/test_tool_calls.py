"""Which parser of tool calls a miner asks vLLM for, by the model's chat template."""

import json
from pathlib import Path

import pytest

from miners.tool_calls import tool_call_flags
from tests.gateway.qwen_template import QWEN25_TEMPLATE

HERMES = ["--enable-auto-tool-choice", "--tool-call-parser", "hermes"]

XML_CALLS = (
    "{{ '<tool_call>\\n<function=name>\\n<parameter=x>\\n</parameter>\\n</function>\\n</tool_call>' }}"
)
LLAMA_CALLS = '{{ \'{"name": function name, "parameters": dictionary}\' }}'


def test_qwens_template_asks_for_the_parser_of_its_format(tmp_path: Path) -> None:
    (tmp_path / "chat_template.jinja").write_text(QWEN25_TEMPLATE)
    assert tool_call_flags(tmp_path) == HERMES


def test_a_template_in_the_tokenizers_configuration_counts_too(tmp_path: Path) -> None:
    (tmp_path / "tokenizer_config.json").write_text(json.dumps({"chat_template": QWEN25_TEMPLATE}))
    assert tool_call_flags(tmp_path) == HERMES


@pytest.mark.parametrize("template", [XML_CALLS, LLAMA_CALLS, "{{ messages }}", None])
def test_other_formats_get_no_parser_that_would_misread_them(tmp_path: Path, template: str | None) -> None:
    if template is not None:
        (tmp_path / "chat_template.jinja").write_text(template)
    assert tool_call_flags(tmp_path) == []
