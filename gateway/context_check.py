"""Refusing prompts that can't fit the model's context, before any miner is asked."""

from collections.abc import Mapping
from typing import Any

import orjson

from gateway.client_request import ClientRequest
from gateway.errors import context_length_exceeded
from gateway.prompt_tokens import PromptTokens
from shared.errors import ModelError, NotReproducible
from shared.inference_paths import CHAT_PATH
from shared.prompt_rendering import PromptRenderer
from shared.text_tokenizer import TextTokenizer

TEMPLATE_TOKENS = 512
"""More than a chat template adds to what the body says: with tools, Qwen2.5's adds 180, and less for each
message than the JSON around it has bytes."""


class ContextCheck:
    """Counts only prompts that could be too long: no token has less than one byte of a request's body."""

    def __init__(self, tokens: PromptTokens) -> None:
        self._tokens = tokens

    def is_needed(self, request: ClientRequest, body_bytes: int) -> bool:
        """Whether the request could be too long, as far as its size tells; and could be counted."""
        context = self._tokens.context
        if context is None or body_bytes + TEMPLATE_TOKENS + output_asked(request.fields) <= context:
            return False
        return self._tokens.ready and request.fields.get("truncate_prompt_tokens") is None

    async def check(self, request: ClientRequest) -> None:
        """Count the prompt.

        What can't be counted (images, say) is left to the miners.

        Raises:
            ApiError: 400; prompt and output are more than the context.
        """
        context, output = self._tokens.context, output_asked(request.fields)
        body = orjson.dumps(request.fields).decode()

        def longest(_: TextTokenizer, renderer: PromptRenderer) -> int:
            return max(len(prompt) for prompt in renderer.prompts(request.path, body))

        try:
            prompt = await self._tokens.use(longest)
        except (NotReproducible, ModelError):
            return
        if context is not None and prompt + max(output, 1) > context:
            what = "messages" if request.path == CHAT_PATH else "prompt"
            raise context_length_exceeded(context, prompt, output, what)


def output_asked(fields: Mapping[str, Any]) -> int:
    """The output tokens that a request reserves; 0 when it leaves that to the miner."""
    for name in ("max_completion_tokens", "max_tokens"):
        limit = fields.get(name)
        if type(limit) is int:
            return limit
    return 0
