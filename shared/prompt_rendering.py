"""Renders and tokenises a request as vLLM does, from one's own tokenizer and chat template.

A gateway counts a prompt's tokens with it before it asks a miner. To an auditor it says more: a miner
whose prompt tokens differ edited the template, stripped the system prompt or served another text.
Defaults are those of `vllm/entrypoints/openai/*/protocol.py`; tests compare with vLLM's own renderer.
"""

import inspect
import json
import re
from collections.abc import Mapping, Sequence
from typing import Annotated, Any

import jinja2
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from shared.chat_templates import ChatTemplate
from shared.conversations import conversation
from shared.errors import NotReproducible
from shared.inference_paths import CHAT_PATH, COMPLETIONS_PATH
from shared.receipts import MAX_CHOICES
from shared.unquoted import unusual_field

_UNSUPPORTED_FIELDS = (
    "chat_template",
    "kv_transfer_params",
    "media_io_kwargs",
    "mm_processor_kwargs",
    "prompt_embeds",
    "suffix",
)
"""Fields that replace the template or the prompt, or need more than text."""

_UNSET = (None, "auto")
"""Values of `chat_template_kwargs` that vLLM treats as absent."""

_SURROGATE = re.compile("[\ud800-\udfff]")
"""Only JSON within JSON, the arguments of a tool call, can bring one into a prompt."""

_TRUNCATION_SIDE = "left"
"""vLLM loads tokenizers of generating models so: the last tokens are kept."""


class _Body(BaseModel):
    model_config = ConfigDict(strict=True, extra="ignore")

    n: Annotated[int, Field(ge=1, le=MAX_CHOICES)] | None = None
    echo: bool | None = None
    max_tokens: int | None = None
    use_beam_search: bool = False
    truncate_prompt_tokens: int | None = None
    truncation_side: str | None = None


class _ChatBody(_Body):
    messages: list[dict[str, Any]]
    tools: list[dict[str, Any]] | None = None
    documents: list[dict[str, str]] | None = None
    reasoning_effort: str | None = None
    add_generation_prompt: bool = True
    continue_final_message: bool = False
    add_special_tokens: bool = False
    chat_template_kwargs: dict[str, Any] | None = None


class _CompletionBody(_Body):
    prompt: str | list[int] | list[str] | list[list[int]]
    add_special_tokens: bool = True


class PromptRenderer:
    """Prompt token ids of requests for one model; safe to use from one thread at a time.

    Args:
        tokenizer: of transformers, or a `TextTokenizer`, which has the three methods used here.
    """

    def __init__(self, tokenizer: Any) -> None:
        self._tokenizer: Any = tokenizer
        self._templates: dict[str, ChatTemplate] = {}
        self._reserved = set(inspect.signature(tokenizer.apply_chat_template).parameters)

    def prompts(self, path: str, body: str) -> list[list[int]]:
        """Prompt token ids of each choice, by choice index: every prompt of a request comes `n` times.

        Args:
            path: the request's path.
            body: the request's body as it was sent to the miner.

        Raises:
            NotReproducible: the request can't be rebuilt from its text alone.
        """
        fields = _fields(body)
        try:
            if path == CHAT_PATH:
                chat = _ChatBody.model_validate(fields)
                return _per_choice([self._chat(chat)], chat)
            if path == COMPLETIONS_PATH:
                completion = _CompletionBody.model_validate(fields)
                return _per_choice(self._completion(completion), completion)
        except ValidationError as error:
            raise NotReproducible(unusual_field(error)) from None
        raise NotReproducible(f"requests to {path} are not rendered again")

    def _chat(self, body: _ChatBody) -> list[int]:
        tools = [_tool(tool) for tool in body.tools] if body.tools else None
        template = self._template(tools)
        arguments = self._template_arguments(body)
        messages = conversation(body.messages, template)
        try:
            text = self._tokenizer.apply_chat_template(
                messages, tools=tools, chat_template=template.text, tokenize=False, **arguments
            )
        except (jinja2.TemplateError, ValueError, TypeError, KeyError) as error:
            # The error's words are left out: templates quote messages in theirs.
            raise NotReproducible(f"the chat template refuses it ({type(error).__name__})") from None
        return self._encode(text, body.add_special_tokens, body)

    def _template(self, tools: list[dict[str, Any]] | None) -> ChatTemplate:
        try:
            text = self._tokenizer.get_chat_template(None, tools=tools)
        except ValueError as error:
            raise NotReproducible(f"the model has no chat template: {error}") from None
        if text not in self._templates:
            self._templates[text] = ChatTemplate.parse(text)
        template = self._templates[text]
        if template.reads_the_clock:
            raise NotReproducible("the model's chat template writes today's date into the prompt")
        return template

    def _template_arguments(self, body: _ChatBody) -> dict[str, Any]:
        own = {
            "add_generation_prompt": body.add_generation_prompt,
            "continue_final_message": body.continue_final_message,
            "documents": body.documents,
            "reasoning_effort": body.reasoning_effort,
        }
        asked = body.chat_template_kwargs or {}
        reserved = set(asked) & (self._reserved - set(own))
        if reserved:
            raise NotReproducible(f"chat_template_kwargs redefine {', '.join(sorted(reserved))}")
        if body.reasoning_effort is not None and "enable_thinking" not in asked:
            own["enable_thinking"] = body.reasoning_effort != "none"
        chosen = {**asked, **{name: value for name, value in own.items() if value is not None}}
        return {name: value for name, value in chosen.items() if value not in _UNSET}

    def _completion(self, body: _CompletionBody) -> list[list[int]]:
        prompt = body.prompt
        single = isinstance(prompt, str) or (bool(prompt) and all(isinstance(item, int) for item in prompt))
        prompts: Any = [prompt] if single else prompt
        return [
            self._encode(item, body.add_special_tokens, body)
            if isinstance(item, str)
            else _truncated(list(item), body)
            for item in prompts
        ]

    def _encode(self, text: str, add_special_tokens: bool, body: _Body) -> list[int]:
        if not text.isascii() and _SURROGATE.search(text):
            raise NotReproducible("the prompt has half a character, which no tokenizer takes")
        token_ids = self._tokenizer(text, add_special_tokens=add_special_tokens)["input_ids"]
        return _truncated(list(token_ids), body)


def _per_choice(prompts: Sequence[list[int]], body: _Body) -> list[list[int]]:
    if body.use_beam_search:
        raise NotReproducible("the request asks for beam search, whose beams share their computation")
    if body.echo and body.max_tokens == 0:
        raise NotReproducible("the request echoes its prompt and asks for no output")
    return [prompt for prompt in prompts for _ in range(1 if body.n is None else body.n)]


def _fields(body: str) -> Mapping[str, Any]:
    try:
        fields = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise NotReproducible(f"the recorded request is not JSON: {error}") from None
    if not isinstance(fields, dict):
        raise NotReproducible("the recorded request is not a JSON object")
    for name in _UNSUPPORTED_FIELDS:
        if fields.get(name) is not None:
            raise NotReproducible(f"the request sets {name}")
    return fields


def _tool(tool: Mapping[str, Any]) -> dict[str, Any]:
    """A tool with the fields that vLLM passes on, in its order."""
    function = tool.get("function")
    if not isinstance(function, dict) or tool.get("type", "function") != "function":
        raise NotReproducible("a tool is not of the type function")
    if tool.get("defer_loading") is not None or function.get("defer_loading") is not None:
        raise NotReproducible("a tool is loaded later")
    passed = {name: function.get(name) for name in ("name", "description", "parameters")}
    if function.get("strict") is not None:
        passed["strict"] = function["strict"]
    return {"type": "function", "function": passed}


def _truncated(token_ids: list[int], body: _Body) -> list[int]:
    keep = body.truncate_prompt_tokens
    if keep is None or keep >= len(token_ids):
        return token_ids
    if keep < 1:
        raise NotReproducible("the prompt is cut to a length that depends on the miner's settings")
    right = (body.truncation_side or _TRUNCATION_SIDE) == "right"
    return token_ids[:keep] if right else token_ids[-keep:]
