"""vLLM's own rendering of requests, without an engine, for models that differ in their chat template."""

import asyncio
import shutil
from pathlib import Path
from typing import Any

from vllm.config import ModelConfig, VllmConfig
from vllm.entrypoints.openai.chat_completion.protocol import ChatCompletionRequest
from vllm.entrypoints.openai.completion.protocol import CompletionRequest
from vllm.exceptions import VLLMValidationError
from vllm.renderers.online_renderer import OnlineRenderer
from vllm.renderers.registry import renderer_from_config

QWEN_LIKE = """
{%- if tools %}
    {{- '<|im_start|>system\\n' }}
    {%- if messages[0]['role'] == 'system' %}{{- messages[0]['content'] }}{%- endif %}
    {{- "\\n# Tools\\n<tools>" }}
    {%- for tool in tools %}{{- "\\n" }}{{- tool | tojson }}{%- endfor %}
    {{- "\\n</tools><|im_end|>\\n" }}
{%- elif messages[0]['role'] == 'system' %}
    {{- '<|im_start|>system\\n' + messages[0]['content'] + '<|im_end|>\\n' }}
{%- endif %}
{%- for message in messages %}
    {%- if (message.role == "user") or (message.role == "system" and not loop.first)
        or (message.role == "assistant" and not message.tool_calls) %}
        {{- '<|im_start|>' + message.role + (' ' + message.name if message.name else '') + '\\n'
            + message.content + '<|im_end|>\\n' }}
    {%- elif message.role == "assistant" %}
        {{- '<|im_start|>assistant\\n' + message.content }}
        {%- for tool_call in message.tool_calls %}
            {{- '\\n<tool_call>' + (tool_call.function | tojson) + (tool_call | tojson) + '</tool_call>' }}
        {%- endfor %}
        {{- '<|im_end|>\\n' }}
    {%- elif message.role == "tool" %}
        {{- '<|im_start|>user\\n<tool_response ' + message.tool_call_id + '>' + message.content
            + '</tool_response><|im_end|>\\n' }}
    {%- endif %}
    {%- if message.reasoning_content %}{{- '<think>' + message.reasoning_content + '</think>' }}{%- endif %}
{%- endfor %}
{%- for document in documents or [] %}{{- document | tojson }}{%- endfor %}
{%- if enable_thinking is defined and not enable_thinking %}{{- '<no_think>' }}{%- endif %}
{%- if reasoning_effort %}{{- '<effort>' + reasoning_effort }}{%- endif %}
{%- if add_generation_prompt %}{{- '<|im_start|>assistant\\n' }}{%- endif %}
"""

LOOPING_OVER_PARTS = """
{%- for message in messages %}
    {{- '<|im_start|>' + message['role'] + '\\n' }}
    {%- for part in message['content'] %}[{{ part['type'] }}]{{ part['text'] }}{%- endfor %}
    {{- '<|im_end|>\\n' }}
{%- endfor %}
{%- if add_generation_prompt %}{{- '<|im_start|>assistant\\n' }}{%- endif %}
"""

LOOPING_IN_A_MACRO = """
{%- macro show(value) %}
    {%- if value is string %}{{- value }}
    {%- else %}{%- for item in value %}{{- item.text }}{%- endfor %}{%- endif %}
{%- endmacro %}
{%- set turns = messages[1:] %}
{%- for turn in turns %}{{- turn.role + ': ' + show(turn.content) + '\\n' }}{%- endfor %}
"""

KNOWING_DEVELOPERS = """
{%- for message in messages %}
    {%- if message['role'] == 'developer' %}{{- '<dev>' + message['content'] + '\\n' }}
    {%- else %}{{- '<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>' }}{%- endif %}
{%- endfor %}
"""

TEMPLATES: dict[str, str | None] = {
    "own": None,
    "qwen": QWEN_LIKE,
    "parts": LOOPING_OVER_PARTS,
    "macro": LOOPING_IN_A_MACRO,
    "developer": KNOWING_DEVELOPERS,
}


def model_with_template(source: Path, target: Path, template: str | None) -> Path:
    """The model's configuration and tokenizer, without weights, with another chat template."""
    shutil.copytree(source, target, ignore=shutil.ignore_patterns("*.safetensors", "*.calibration"))
    if template is not None:
        (target / "chat_template.jinja").write_text(template)
    return target


class Refused(Exception):
    """vLLM refuses the request."""


class VllmRenderer:
    """vLLM's renderer of one model."""

    def __init__(self, folder: Path) -> None:
        model_config = ModelConfig(model=str(folder), max_model_len=2048)
        self._renderer = OnlineRenderer(
            model_config,
            renderer_from_config(VllmConfig(model_config=model_config)),
            request_logger=None,
            chat_template=None,
            chat_template_content_format="auto",
            enable_auto_tools=True,
            tool_parser="hermes",
        )

    def prompts(self, path: str, body: dict[str, Any]) -> list[list[int]]:
        """Prompt token ids of each prompt.

        Raises:
            Refused: vLLM answers with an error.
        """
        chat = path == "/v1/chat/completions"
        try:
            if chat:
                rendering = self._renderer.render_chat(ChatCompletionRequest(**body))
            else:
                rendering = self._renderer.render_completion(CompletionRequest(**body))
            rendered: Any = asyncio.run(rendering)
        except (ValueError, VLLMValidationError) as error:
            raise Refused(str(error)) from None
        inputs = rendered[1] if chat and isinstance(rendered, tuple) else rendered
        if not isinstance(inputs, list):
            raise Refused(str(inputs))
        return [list(one["prompt_token_ids"]) for one in inputs]
