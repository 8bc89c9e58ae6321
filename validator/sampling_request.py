"""The fields of a recorded request that decide which tokens are drawn.

Understood are the fields of the models below, with the types and bounds of vLLM's own models
(`vllm/entrypoints/openai/*/protocol.py`, `vllm/sampling_params.py`). What vLLM does not know, it ignores, and
so does this; what it knows and an auditor can't rebuild raises NotReproducible.
"""

import json
from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from shared.errors import NotReproducible
from shared.inference_paths import CHAT_PATH, COMPLETIONS_PATH
from shared.receipts import MAX_CHOICES
from shared.unquoted import unusual_field

_COMPLETION_TOKENS = 16
"""`max_tokens` of `/v1/completions` when the request names none."""

UNSUPPORTED_FIELDS: Mapping[str, str] = {
    "structured_outputs": "constrains its output by a grammar",
    "guided_json": "constrains its output by a grammar",
    "guided_regex": "constrains its output by a grammar",
    "guided_choice": "constrains its output by a grammar",
    "guided_grammar": "constrains its output by a grammar",
    "logits_processors": "names logits processors of its own",
    "repetition_detection": "ends at repetitions",
    "vllm_xargs": "passes arguments to extensions of the engine",
    "kv_transfer_params": "takes its prompt's state from another engine",
    "ec_transfer_params": "takes its prompt's state from another engine",
    "watermarking": "asks for a watermark",
    "use_beam_search": "asks for beam search, which samples nothing",
}
"""Fields that change the tokens in a way that needs more than the request; empty, they change nothing."""

_UNLIMITED = -1
"""A `thinking_token_budget` that vLLM takes for none."""


class SamplingRequest(BaseModel):
    """Fields with one meaning on both paths. A null is vLLM's default where it is allowed."""

    model_config = ConfigDict(strict=True, extra="ignore", allow_inf_nan=False)

    n: Annotated[int, Field(ge=1, le=MAX_CHOICES)] | None = None
    seed: Annotated[int, Field(ge=-(1 << 63), lt=1 << 63)] | None = None
    temperature: Annotated[float, Field(ge=0, le=2)] | None = None
    top_p: Annotated[float, Field(gt=0, le=1)] | None = None
    top_k: Annotated[int, Field(ge=-1)] | None = None
    min_p: Annotated[float, Field(ge=0, le=1)] | None = None
    presence_penalty: Annotated[float, Field(ge=-2, le=2)] | None = None
    frequency_penalty: Annotated[float, Field(ge=-2, le=2)] | None = None
    repetition_penalty: Annotated[float, Field(gt=0)] | None = None
    logit_bias: dict[str, float] | None = None
    allowed_token_ids: Annotated[list[int], Field(min_length=1)] | None = None
    bad_words: list[Annotated[str, Field(min_length=1)]] = []
    stop: Annotated[str, Field(min_length=1)] | list[Annotated[str, Field(min_length=1)]] | None = None
    stop_token_ids: list[int] | None = None
    ignore_eos: bool = False
    min_tokens: Annotated[int, Field(ge=0)] = 0
    max_tokens: Annotated[int, Field(ge=1)] | None = None
    include_stop_str_in_output: bool = False
    skip_special_tokens: bool = True
    spaces_between_special_tokens: bool = True
    response_format: dict[str, Any] | None = None
    thinking_token_budget: int | None = None

    def most_tokens(self, default: int | None) -> int | None:
        """Output tokens at most, given the model's own default; None when only the context bounds them."""
        raise NotImplementedError

    def reason_against(self) -> str | None:
        """Why its tokens can't be drawn again, in words that follow "the request"."""
        if self.response_format is not None and self.response_format.get("type") != "text":
            return "asks for a response format, which constrains its output by a grammar"
        if self.thinking_token_budget not in (None, _UNLIMITED):
            return "bounds the tokens of its reasoning"
        return None


class _ChatRequest(SamplingRequest):
    max_completion_tokens: Annotated[int, Field(ge=1)] | None = None
    tools: list[dict[str, Any]] | None = None
    tool_choice: str | dict[str, Any] | None = "auto"
    parallel_tool_calls: bool | None = True

    def most_tokens(self, default: int | None) -> int | None:
        asked = self.max_tokens if self.max_completion_tokens is None else self.max_completion_tokens
        return default if asked is None else asked

    def reason_against(self) -> str | None:
        if self.tools and self.tool_choice not in (None, "none", "auto"):
            return "forces a tool call, which constrains its output by a grammar"
        if self.tools and self.tool_choice == "auto" and self._constrains_calls():
            return "has strict tools or allows a single call, which may constrain its output by a grammar"
        return super().reason_against()

    def _constrains_calls(self) -> bool:
        functions = [tool.get("function") for tool in self.tools or ()]
        strict = any(isinstance(function, dict) and function.get("strict") for function in functions)
        return strict or self.parallel_tool_calls is False


class _CompletionRequest(SamplingRequest):
    def most_tokens(self, default: int | None) -> int | None:
        return _COMPLETION_TOKENS if self.max_tokens is None else self.max_tokens


_REQUESTS: Mapping[str, type[SamplingRequest]] = {
    CHAT_PATH: _ChatRequest,
    COMPLETIONS_PATH: _CompletionRequest,
}


def sampling_request(path: str, request_body: str) -> SamplingRequest:
    """The fields of a recorded request that decide its tokens.

    Raises:
        NotReproducible: they can't be rebuilt from the request, or vLLM would refuse them; says why.
    """
    if path not in _REQUESTS:
        raise NotReproducible(f"the tokens of requests to {path} are not drawn again")
    try:
        request = _REQUESTS[path].model_validate(_fields(request_body))
    except ValidationError as error:
        raise NotReproducible(unusual_field(error)) from None
    reason = request.reason_against()
    if reason is not None:
        raise NotReproducible(f"the request {reason}")
    return request


def _fields(request_body: str) -> dict[str, Any]:
    try:
        fields = json.loads(request_body)
    except ValueError as error:
        raise NotReproducible(f"the recorded request is not JSON: {error}") from None
    if not isinstance(fields, dict):
        raise NotReproducible("the recorded request is not a JSON object")
    for name, effect in UNSUPPORTED_FIELDS.items():
        if fields.get(name):
            raise NotReproducible(f"the request {effect} ({name})")
    return fields
