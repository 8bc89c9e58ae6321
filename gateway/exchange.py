"""One request and its answer, in the words of one of the APIs that the gateway speaks.

Whatever a client speaks, a miner gets an ordinary chat or completion; so receipts, records and audits are the
same for all.
"""

from collections.abc import Mapping
from functools import partial
from typing import Any, Protocol

from starlette.types import Send

from gateway import messages_request, responses_request
from gateway.client_connection import Response
from gateway.client_request import ClientRequest, client_request, json_object, parse_client_request
from gateway.clock import Clock
from gateway.messages_answer import MessagesWriter
from gateway.responses_answer import ResponsesWriter
from gateway.translated_response import TranslatedResponse
from shared.inference_paths import CHAT_PATH

MESSAGES_PATH = "/v1/messages"
RESPONSES_PATH = "/v1/responses"


class Exchange(Protocol):
    """What a request is read by, and answered through.

    Attributes:
        response: takes an OpenAI answer, and sends it in this API's form.
    """

    response: Response

    def read(self, body: bytes) -> ClientRequest:
        """The request in OpenAI's form.

        Raises:
            ApiError: 400 or 404; says which field is wrong.
        """
        ...


class OpenAiExchange:
    """A chat or a completion, which a miner answers in the client's own form."""

    def __init__(self, path: str, model: str, store_by_default: bool, send: Send) -> None:
        self._path, self._model, self._store_by_default = path, model, store_by_default
        self.response = Response(send)

    def read(self, body: bytes) -> ClientRequest:
        return parse_client_request(self._path, body, self._model, self._store_by_default)


class MessagesExchange:
    """A message of Anthropic's API."""

    def __init__(self, model: str, store_by_default: bool, send: Send) -> None:
        self._model, self._store_by_default = model, store_by_default
        self.response: Response = TranslatedResponse(send, partial(MessagesWriter, model))

    def read(self, body: bytes) -> ClientRequest:
        fields = messages_request.chat_fields(json_object(body))
        return client_request(CHAT_PATH, fields, self._model, self._store_by_default)


class ResponsesExchange:
    """A response of OpenAI's newer API."""

    def __init__(self, model: str, clock: Clock, store_by_default: bool, send: Send) -> None:
        self._model, self._clock, self._store_by_default = model, clock, store_by_default
        self._asked: Mapping[str, Any] = {}
        self.response: Response = TranslatedResponse(send, self._writer)

    def _writer(self) -> ResponsesWriter:
        return ResponsesWriter(self._model, self._asked, self._clock.unix_ms() // 1000)

    def read(self, body: bytes) -> ClientRequest:
        fields = json_object(body)
        chat = responses_request.chat_fields(fields)
        request = client_request(CHAT_PATH, chat, self._model, self._store_by_default)
        self._asked = fields
        return request
