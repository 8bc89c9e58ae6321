"""One request and its answer, in the words of one of the APIs that the gateway speaks.

Whatever a client speaks, a miner gets an ordinary chat or completion; so receipts, records and audits are the
same for all.
"""

from typing import Protocol

from starlette.types import Send

from gateway.client_connection import Response
from gateway.client_request import ClientRequest, parse_client_request


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

    def __init__(self, path: str, model: str, send: Send) -> None:
        self._path, self._model = path, model
        self.response = Response(send)

    def read(self, body: bytes) -> ClientRequest:
        return parse_client_request(self._path, body, self._model)
