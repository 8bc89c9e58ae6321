"""JSON-RPC 2.0: requests out of a message, and results and errors into one. Every message is hostile."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

import orjson

from localnet.chain_node.runtime import HASH_BYTES
from localnet.chain_node.wire_values import from_hex

PARSE_ERROR = -32700
INVALID_REQUEST = -32600
METHOD_NOT_FOUND = -32601
INVALID_PARAMS = -32602
INTERNAL_ERROR = -32603

MAX_BATCH_REQUESTS = 64
_MAX_ECHOED_CHARACTERS = 60

_T = TypeVar("_T")


class RpcError(Exception):
    """A request fails with a JSON-RPC error object."""

    def __init__(self, code: int, message: str, data: str | None = None) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.data = data


def invalid_params(reason: str) -> RpcError:
    return RpcError(INVALID_PARAMS, f"Invalid params: {reason}")


@dataclass(frozen=True)
class Params:
    """Positional parameters; a missing or null optional one reads as None.

    Every method raises `RpcError` (invalid params) where the parameter is missing or of another type.
    """

    values: tuple[Any, ...]

    def text(self, index: int) -> str:
        return self._typed(index, str, "a string")

    def integer(self, index: int, minimum: int, maximum: int) -> int:
        value = self._typed(index, int, "an integer")
        if isinstance(value, bool) or not minimum <= value <= maximum:
            raise invalid_params(f"parameter {index + 1} must be from {minimum} to {maximum}")
        return value

    def boolean(self, index: int) -> bool:
        return self._typed(index, bool, "a boolean")

    def hex_bytes(self, index: int) -> bytes:
        return _hex_bytes(self.text(index))

    def hex_list(self, index: int, limit: int) -> list[bytes]:
        values = self._typed(index, list, "a list")
        if len(values) > limit or not all(isinstance(value, str) for value in values):
            raise invalid_params(f"parameter {index + 1} must be a list of at most {limit} hex strings")
        return [_hex_bytes(value) for value in values]

    def optional(self, index: int) -> Any:
        return self.values[index] if index < len(self.values) else None

    def optional_hash(self, index: int) -> bytes | None:
        """A block hash, or None for the newest block."""
        if self.optional(index) is None:
            return None
        value = self.hex_bytes(index)
        if len(value) != HASH_BYTES:
            raise invalid_params(f"parameter {index + 1} must be a hash of {HASH_BYTES} bytes")
        return value

    def _typed(self, index: int, kind: type[_T], name: str) -> _T:
        value = self.optional(index)
        if not isinstance(value, kind):
            raise invalid_params(f"parameter {index + 1} must be {name}")
        return value


def _hex_bytes(value: str) -> bytes:
    try:
        return from_hex(value)
    except ValueError as error:
        raise invalid_params(f"not a hex string: {value[:_MAX_ECHOED_CHARACTERS]!r}") from error


def answer(message: str | bytes, call: Callable[[str, Params], Any]) -> bytes | None:
    """Answers one message, a single request or a batch; None where nothing is to be sent back.

    `call` runs one method, and may raise `RpcError`.
    """
    try:
        parsed = orjson.loads(message)
    except orjson.JSONDecodeError:
        return orjson.dumps(_error(None, RpcError(PARSE_ERROR, "Parse error")))
    if not isinstance(parsed, list):
        response = _respond(parsed, call)
        return None if response is None else orjson.dumps(response)
    if not 0 < len(parsed) <= MAX_BATCH_REQUESTS:
        reason = f"Invalid request: a batch holds from 1 to {MAX_BATCH_REQUESTS} requests"
        return orjson.dumps(_error(None, RpcError(INVALID_REQUEST, reason)))
    responses = [response for item in parsed if (response := _respond(item, call)) is not None]
    return orjson.dumps(responses) if responses else None


def notification(method: str, subscription: str, result: Any) -> bytes:
    """A message about a subscription."""
    params = {"subscription": subscription, "result": result}
    return orjson.dumps({"jsonrpc": "2.0", "method": method, "params": params})


def _respond(request: Any, call: Callable[[str, Params], Any]) -> dict[str, Any] | None:
    identifier = request.get("id") if isinstance(request, dict) else None
    try:
        method, params = _checked(request)
        result = call(method, params)
    except RpcError as error:
        return _error(identifier if isinstance(identifier, str | int | float) else None, error)
    return {"jsonrpc": "2.0", "id": identifier, "result": result} if "id" in request else None


def _checked(request: Any) -> tuple[str, Params]:
    if not isinstance(request, dict) or request.get("jsonrpc") != "2.0":
        raise RpcError(INVALID_REQUEST, "Invalid request: no JSON-RPC 2.0 request object")
    method, params = request.get("method"), request.get("params")
    if not isinstance(method, str) or not isinstance(request.get("id"), str | int | float | None):
        raise RpcError(INVALID_REQUEST, "Invalid request: method must be a string, id a string or a number")
    if params is not None and not isinstance(params, list):
        raise invalid_params("parameters are given by position, as a list")
    return method, Params(tuple(params or ()))


def _error(identifier: str | int | float | None, error: RpcError) -> dict[str, Any]:
    body = {"code": error.code, "message": error.message}
    if error.data is not None:
        body["data"] = error.data
    return {"jsonrpc": "2.0", "id": identifier, "error": body}
