"""The OpenAPI document of everything that the gateway serves: GET /openapi.json.

Written by hand, since the routes that carry the traffic are no framework's. Fields that are only passed on
are not listed; every object takes more than is said of it. A test holds the document against what is served.
"""

from collections.abc import Mapping
from typing import Any

from gateway.client_request import MAX_CONTAINERS
from gateway.field_checks import MOST_LOGPROBS, MOST_STOPS
from gateway.message_checks import MAX_NESTING
from gateway.openapi_dataset import dataset_paths
from shared.receipts import MAX_CHOICES

Schema = dict[str, Any]

_TEXT: Schema = {"type": "string"}
_FLAG: Schema = {"type": "boolean"}
_OBJECT: Schema = {"type": "object"}
_OBJECTS: Schema = {"type": "array", "items": _OBJECT}


def _number(low: float, high: float) -> Schema:
    return {"type": "number", "minimum": low, "maximum": high}


def _whole(low: int, high: int | None = None) -> Schema:
    return {"type": "integer", "minimum": low} | ({} if high is None else {"maximum": high})


def _list(items: Schema, least: int = 0) -> Schema:
    return {"type": "array", "items": items} | ({"minItems": least} if least else {})


def _either(*schemas: Schema) -> Schema:
    return {"anyOf": list(schemas)}


def _object(properties: Mapping[str, Schema], *required: str) -> Schema:
    return {"type": "object", "properties": dict(properties)} | (
        {"required": list(required)} if required else {}
    )


def _sampling() -> dict[str, Schema]:
    return {
        "temperature": _number(0, 100),
        "top_p": {"type": "number", "exclusiveMinimum": 0, "maximum": 1},
        "min_p": _number(0, 1),
        "top_k": _whole(-1, 1 << 30),
        "presence_penalty": _number(-2, 2),
        "frequency_penalty": _number(-2, 2),
        "repetition_penalty": {"type": "number", "exclusiveMinimum": 0, "maximum": 100},
        "max_tokens": _whole(1, 1 << 30),
        "min_tokens": _whole(0, 1 << 30),
        "n": _whole(1, MAX_CHOICES),
        "seed": _whole(-(1 << 63), (1 << 63) - 1),
        "stop": _either(_TEXT, {**_list(_TEXT), "maxItems": MOST_STOPS}),
        "logit_bias": {"type": "object", "additionalProperties": {"type": "number"}},
        "stream": _FLAG,
        "stream_options": _object({"include_usage": _FLAG, "continuous_usage_stats": _FLAG}),
        "return_token_ids": _FLAG,
        "echo": _FLAG,
        "store": {**_FLAG, "description": "false keeps the text out of what is published; see /v1/dataset/"},
    }


def _chat(model: Schema) -> Schema:
    message = _object({"role": _TEXT, "content": _either(_TEXT, _OBJECTS, {"type": "null"})}, "role")
    own = {
        "model": model,
        "messages": _list(message, 1),
        "max_completion_tokens": _whole(1, 1 << 30),
        "tools": _OBJECTS,
        "tool_choice": _either(_TEXT, _OBJECT),
        "parallel_tool_calls": _FLAG,
        "response_format": _object({"type": _TEXT}),
        "logprobs": _FLAG,
        "top_logprobs": _whole(0, MOST_LOGPROBS),
    }
    return _object(own | _sampling(), "messages")


def _completion(model: Schema) -> Schema:
    ids = _list(_whole(0, 1 << 30), 1)
    prompt = _either(_TEXT, ids, _list(_TEXT, 1), _list(ids, 1))
    return _object(
        {"model": model, "prompt": prompt, "logprobs": _whole(0, MOST_LOGPROBS)} | _sampling(), "prompt"
    )


def _message_body(model: Schema) -> dict[str, Schema]:
    message = _object(
        {"role": {"enum": ["user", "assistant"]}, "content": _either(_TEXT, _OBJECTS)}, "role", "content"
    )
    return {
        "model": model,
        "messages": _list(message, 1),
        "system": _either(_TEXT, _OBJECTS),
        "tools": _OBJECTS,
        "tool_choice": _OBJECT,
    }


def _message(model: Schema) -> Schema:
    own = {
        "max_tokens": _whole(1, 1 << 30),
        "stop_sequences": {**_list(_TEXT), "maxItems": MOST_STOPS},
        "temperature": _number(0, 100),
        "top_p": {"type": "number", "exclusiveMinimum": 0, "maximum": 1},
        "top_k": _whole(-1, 1 << 30),
        "stream": _FLAG,
        "metadata": _OBJECT,
    }
    return _object(_message_body(model) | own, "messages", "max_tokens")


def _response(model: Schema) -> Schema:
    item = _object({"type": _TEXT, "role": _TEXT, "content": _either(_TEXT, _OBJECTS)})
    own = {
        "model": model,
        "input": _either(_TEXT, _list(item, 1)),
        "instructions": _TEXT,
        "max_output_tokens": _whole(1, 1 << 30),
        "temperature": _number(0, 100),
        "top_p": {"type": "number", "exclusiveMinimum": 0, "maximum": 1},
        "tools": _OBJECTS,
        "text": _object({"format": _OBJECT}),
        "stream": _FLAG,
        "metadata": _OBJECT,
    }
    return _object(own, "input")


def _tokenize(model: Schema) -> Schema:
    own = {
        "model": model,
        "prompt": _TEXT,
        "messages": _list(_OBJECT, 1),
        "tools": _OBJECTS,
        "add_generation_prompt": _FLAG,
        "add_special_tokens": _FLAG,
        "return_token_strs": _FLAG,
    }
    return _object(own)


_ERROR = _object(
    {
        "error": _object(
            {
                "message": _TEXT,
                "type": _TEXT,
                "param": {"type": ["string", "null"]},
                "code": {"type": ["string", "null"]},
            },
            *("message", "type", "param", "code"),
        )
    },
    "error",
)
_ANTHROPIC_ERROR = _object(
    {"type": {"const": "error"}, "error": _object({"type": _TEXT, "message": _TEXT}, "type", "message")},
    *("type", "error"),
)

_ERROR_STATUSES = {
    "400": "the request can't be served as it is written",
    "401": "the key is missing or wrong",
    "403": "only trusted callers may do this",
    "404": "there is no such model, file or address",
    "405": "the address takes another method",
    "408": "the request did not arrive in time",
    "413": "the body is too large",
    "422": "a miner refused the request",
    "429": "a limit or quota is reached; see Retry-After",
    "502": "every miner that was tried failed",
    "503": "nothing can serve the request now; see Retry-After",
}


def _json(schema: Schema) -> Schema:
    return {"application/json": {"schema": schema}}


def _operation(
    summary: str, answer: Schema, body: Schema | None = None, streams: bool = False, error: Schema = _ERROR
) -> Schema:
    content = _json(answer) | ({"text/event-stream": {"schema": {}}} if streams else {})
    responses: Schema = {"200": {"description": "the answer", "content": content}}
    for status, words in _ERROR_STATUSES.items():
        responses[status] = {"description": words, "content": _json(error)}
    operation: Schema = {"summary": summary, "responses": responses}
    if body is not None:
        operation["requestBody"] = {"required": True, "content": _json(body)}
    return operation


def openapi_document(model: str) -> Schema:
    """The document of a gateway that serves `model`."""
    name: Schema = {"type": "string", "enum": [model]}
    card = _object(
        {"id": _TEXT, "object": {"const": "model"}, "max_model_len": {"type": ["integer", "null"]}}, "id"
    )
    choices = _object({"id": _TEXT, "choices": _OBJECTS, "usage": _OBJECT}, "id", "choices")
    message = _object({"id": _TEXT, "type": {"const": "message"}, "content": _OBJECTS}, "id", "content")
    response = _object({"id": _TEXT, "object": {"const": "response"}, "output": _OBJECTS}, "id", "output")
    tokens = _object({"count": _whole(0), "tokens": _list(_whole(0))}, "count", "tokens")
    counted = _object({"input_tokens": _whole(0)}, "input_tokens")
    text = _object({"prompt": _TEXT}, "prompt")
    file_path = {"name": "sha256", "in": "path", "required": True, "schema": _TEXT}
    request_path = {"name": "request_id", "in": "path", "required": True, "schema": _TEXT}
    model_path = {"name": "model", "in": "path", "required": True, "schema": _TEXT}
    paths: Schema = {
        "/": {"get": _operation("What this is", _OBJECT)},
        "/health": {"get": _operation("Whether requests can be served, and by which miners", _OBJECT)},
        "/openapi.json": {"get": _operation("This document", _OBJECT)},
        "/v1/models": {"get": _operation("The model", _object({"data": _list(card, 1)}, "data"))},
        "/v1/models/{model}": {
            "get": _operation("One model", card),
            "parameters": [model_path],
        },
        "/v1/chat/completions": {"post": _operation("Answer a chat", choices, _chat(name), streams=True)},
        "/v1/completions": {"post": _operation("Continue a text", choices, _completion(name), streams=True)},
        "/v1/messages": {
            "post": _operation(
                "Answer a message in Anthropic's form", message, _message(name), True, _ANTHROPIC_ERROR
            )
        },
        "/v1/messages/count_tokens": {
            "post": _operation(
                "Count a message's tokens",
                counted,
                _object(_message_body(name), "messages"),
                error=_ANTHROPIC_ERROR,
            )
        },
        "/v1/responses": {
            "post": _operation("Answer as a response", response, _response(name), streams=True)
        },
        "/v1/embeddings": {"post": _operation("Refused: the model gives none", _OBJECT, _OBJECT)},
        "/tokenize": {"post": _operation("Text or chat to token ids", tokens, _tokenize(name))},
        "/detokenize": {
            "post": _operation(
                "Token ids to text",
                text,
                _object({"model": name, "tokens": _list(_whole(0, 1 << 30))}, "tokens"),
            )
        },
        "/v1/receipts/{request_id}": {
            "get": _operation("Who answered a request, what it signed, and what its audit found", _OBJECT),
            "parameters": [request_path],
        },
        **dataset_paths(_operation),
        "/ready": {"get": _operation("Whether requests can be served now", _OBJECT)},
        "/metrics": {"get": _operation("Metrics for Prometheus", _OBJECT)},
        "/v1/calibration": {"get": _operation("Which calibration file is served", _OBJECT)},
        "/v1/calibration/{sha256}": {
            "get": _operation("The calibration file", _OBJECT),
            "parameters": [file_path],
        },
    }
    paths["/metrics"]["get"]["responses"]["200"]["content"] = {"text/plain": {"schema": _TEXT}}
    paths["/v1/calibration/{sha256}"]["get"]["responses"]["200"]["content"] = {
        "application/octet-stream": {"schema": {"type": "string", "format": "binary"}}
    }
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Constantinople gateway",
            "version": "1",
            "description": f"Objects may have further fields, which go to the miner as they are. Bodies nest "
            f"at most {MAX_NESTING} deep and have at most {MAX_CONTAINERS} lists and objects.",
        },
        "paths": paths,
        "components": {
            "securitySchemes": {
                "bearer": {"type": "http", "scheme": "bearer"},
                "x-api-key": {"type": "apiKey", "in": "header", "name": "x-api-key"},
            }
        },
        "security": [{"bearer": []}, {"x-api-key": []}, {}],
    }
