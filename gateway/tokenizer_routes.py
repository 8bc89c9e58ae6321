"""POST /tokenize and /detokenize, as vLLM has them, and Anthropic's /v1/messages/count_tokens."""

from collections.abc import Mapping
from typing import Any

import orjson
from fastapi import FastAPI, Request
from fastapi.responses import Response

from gateway import messages_request
from gateway.admission import Admission
from gateway.client_connection import read_body
from gateway.client_request import check_model, json_object
from gateway.errors import ApiError, invalid_request, tokenizer_unavailable
from gateway.field_checks import check_fields
from gateway.message_checks import check_messages
from gateway.messages_answer import MessagesWriter
from gateway.prompt_tokens import PromptTokens
from shared.errors import ModelError, NotReproducible
from shared.inference_paths import CHAT_PATH, COMPLETIONS_PATH
from shared.prompt_rendering import PromptRenderer
from shared.text_tokenizer import TextTokenizer

_CHAT_FIELDS = (
    *("messages", "tools", "add_generation_prompt", "continue_final_message", "add_special_tokens"),
    *("documents", "chat_template_kwargs", "reasoning_effort"),
)
"""What of a chat decides its prompt; other templates than the model's are not rendered."""


class Tokenization:
    """The tokenizer for clients. Each call takes one of the client's requests a minute, and no tokens."""

    def __init__(self, model: str, max_body_bytes: int, admission: Admission, tokens: PromptTokens) -> None:
        self._model, self._max_body_bytes = model, max_body_bytes
        self._admission, self._tokens = admission, tokens

    async def tokenize(self, request: Request) -> Response:
        """Token ids of a prompt, or of a chat."""
        headers, fields = await self._read(request)
        with_texts = fields.get("return_token_strs") is True
        path, body = _chat_or_prompt(fields)

        def work(tokenizer: TextTokenizer, renderer: PromptRenderer) -> tuple[list[int], list[str | None]]:
            [token_ids] = renderer.prompts(path, body)
            return token_ids, tokenizer.tokens(token_ids) if with_texts else []

        token_ids, texts = await self._use(work, _blamed(path, fields))
        answer = {
            "count": len(token_ids),
            "max_model_len": self._tokens.context,
            "tokens": token_ids,
            "token_strs": texts if with_texts else None,
        }
        return _json(answer, headers)

    async def detokenize(self, request: Request) -> Response:
        """The text of token ids."""
        headers, fields = await self._read(request)
        token_ids = fields.get("tokens")
        if not isinstance(token_ids, list):
            raise invalid_request("tokens must be a list of token ids.", "tokens")

        def work(tokenizer: TextTokenizer, _: PromptRenderer) -> str:
            for number, token_id in enumerate(token_ids):
                if type(token_id) is not int or not 0 <= token_id < tokenizer.size:
                    raise NotReproducible(f"tokens[{number}] must be a token id below {tokenizer.size}")
            return tokenizer.text(token_ids)

        return _json({"prompt": await self._use(work, "tokens")}, headers)

    async def count_tokens(self, request: Request) -> Response:
        """How many tokens a message of Anthropic's API has; errors have that API's shape."""
        try:
            headers, fields = await self._read(request)
            chat = messages_request.chat_fields(fields, max_tokens_needed=False)
            body = _only_chat(chat)
            [token_ids] = await self._use(lambda _, renderer: renderer.prompts(CHAT_PATH, body), "messages")
        except ApiError as error:
            shown = MessagesWriter(self._model).error(error)
            return Response(shown, error.status, error.headers, "application/json")
        return _json({"input_tokens": len(token_ids)}, headers)

    async def _read(self, request: Request) -> tuple[Mapping[str, str], dict[str, Any]]:
        headers = self._admission.admit(request.scope).headers()
        fields = json_object(await read_body(request.scope, request.receive, self._max_body_bytes))
        check_model(fields, self._model)
        check_fields(fields)
        return headers, fields

    async def _use(self, work: Any, blamed: str | None) -> Any:
        """Do `work`; `blamed` is the field that is wrong if it can't be done."""
        if not self._tokens.ready:
            raise tokenizer_unavailable(self._tokens.unavailable or "too many prompts wait for it already")
        try:
            return await self._tokens.use(work)
        except NotReproducible as error:
            raise invalid_request(f"This can't be tokenised: {error}.", blamed) from None
        except ModelError as error:
            raise tokenizer_unavailable(str(error)) from None


def add_tokenizer_routes(app: FastAPI, tokenization: Tokenization) -> None:
    """Serve them."""
    for path, handler in (
        ("/tokenize", tokenization.tokenize),
        ("/detokenize", tokenization.detokenize),
        ("/v1/messages/count_tokens", tokenization.count_tokens),
    ):
        app.add_api_route(path, handler, methods=["POST"], response_model=None)


def _chat_or_prompt(fields: Mapping[str, Any]) -> tuple[str, str]:
    """Path and body of the request whose prompt is meant."""
    if "messages" in fields:
        if fields.get("continue_final_message") and fields.get("add_generation_prompt"):
            raise invalid_request("add_generation_prompt and continue_final_message exclude each other.")
        if fields.get("chat_template") is not None:
            raise invalid_request("Only the model's own chat template is used.", "chat_template")
        check_messages(fields)
        return CHAT_PATH, _only_chat(fields)
    prompt, special = fields.get("prompt"), fields.get("add_special_tokens")
    if not isinstance(prompt, str):
        raise invalid_request("prompt must be a text, or messages a list.", "prompt")
    body = {"prompt": prompt} | ({} if special is None else {"add_special_tokens": special})
    return COMPLETIONS_PATH, orjson.dumps(body).decode()


def _blamed(path: str, fields: Mapping[str, Any]) -> str | None:
    """The field because of which a well-formed request can't be rendered; None if it may be another."""
    if path != CHAT_PATH:
        return "prompt"
    return None if fields.get("chat_template_kwargs") else "messages"


def _only_chat(fields: Mapping[str, Any]) -> str:
    chosen = {name: fields[name] for name in _CHAT_FIELDS if fields.get(name) is not None}
    if chosen.get("continue_final_message") is True:
        chosen.setdefault("add_generation_prompt", False)
    return orjson.dumps(chosen).decode()


def _json(answer: Mapping[str, Any], headers: Mapping[str, str]) -> Response:
    return Response(orjson.dumps(answer), headers=dict(headers), media_type="application/json")
