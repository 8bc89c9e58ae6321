"""The part of the OpenAPI document that says what is published: the dataset, epochs, scores and miners."""

from collections.abc import Callable, Mapping
from typing import Any

from gateway.dataset_store import MOST_EPOCHS_OF_PAGE

Schema = dict[str, Any]
Operation = Callable[[str, Schema], Schema]

_TEXT: Schema = {"type": "string"}
_WHOLE: Schema = {"type": "integer", "minimum": 0}
_OBJECT: Schema = {"type": "object"}
_OBJECTS: Schema = {"type": "array", "items": _OBJECT}
_BINARY: Schema = {"type": "string", "format": "binary"}
_UNCHANGED: Schema = {"description": "what the client has is what there is"}


def _object(properties: Mapping[str, Schema], *required: str) -> Schema:
    return {"type": "object", "properties": dict(properties), "required": list(required)}


def _parameter(name: str, place: str, schema: Schema) -> Schema:
    return {"name": name, "in": place, "required": place == "path", "schema": schema}


_PAGING = [
    _parameter("before", "query", {"type": "integer", "minimum": 1}),
    _parameter("limit", "query", {"type": "integer", "minimum": 1, "maximum": MOST_EPOCHS_OF_PAGE}),
]

_EPOCH = _object(
    {"number": _WHOLE, "summary_digest": _TEXT, "publisher": _TEXT, "records": _WHOLE, "audits": _OBJECT},
    *("number", "summary_digest", "publisher", "records", "audits"),
)
_SCORE = _object(
    {
        "uid": {"type": ["integer", "null"]},
        "hotkey": _TEXT,
        "score": {"type": "number", "minimum": 0, "maximum": 1},
        "weight": _WHOLE,
        "reasons": {"type": "array", "items": _TEXT},
    },
    *("uid", "score", "weight", "reasons"),
)


def _page(items: Schema) -> Schema:
    data: Schema = {"type": "array", "items": items}
    return _object({"data": data, "next": {"type": ["string", "null"]}}, "data", "next")


def dataset_paths(operation: Operation) -> dict[str, Schema]:
    """The addresses; `operation` makes a GET of a summary and the schema of its answer."""

    def get(summary: str, answer: Schema, *parameters: Schema) -> Schema:
        made = operation(summary, answer)
        made["security"] = [{}]
        made["responses"]["304"] = _UNCHANGED
        return {"get": made, "parameters": list(parameters)}

    def file(summary: str, *parameters: Schema) -> Schema:
        made = get(summary, _OBJECT, *parameters)
        responses = made["get"]["responses"]
        content = {
            "application/vnd.apache.parquet": {"schema": _BINARY},
            "application/json": {"schema": _OBJECT},
        }
        responses["200"]["content"] = content
        responses["206"] = {"description": "the range that was asked for", "content": content}
        responses["307"] = {"description": "the bucket's own address of it"}
        responses["416"] = {**responses["404"], "description": "the object ends before the range"}
        return made

    scores: Schema = {"epoch": _EPOCH, "scores": {"type": "array", "items": _SCORE}}
    return {
        "/v1/dataset/": get("What is published, and how it is read", _object({"tables": _OBJECTS}, "tables")),
        "/v1/dataset/epochs": get("The objects of each epoch, newest first", _page(_OBJECT), *_PAGING),
        "/v1/dataset/latest": file("The newest summary, as it is signed"),
        "/v1/dataset/files/{key}": file("An object of the store", _parameter("key", "path", _TEXT)),
        "/v1/epochs": get("What each epoch came to, newest first", _page(_EPOCH), *_PAGING),
        "/v1/epochs/{number}": get(
            "One epoch, with its files and scores", _EPOCH, _parameter("number", "path", _TEXT)
        ),
        "/v1/scoreboard": get("The newest epoch's scores", _object(scores, "epoch", "scores")),
        "/v1/miners/{hotkey}": get(
            "A miner's scores and audits, newest epoch first",
            _page(_SCORE),
            _parameter("hotkey", "path", _TEXT),
            *_PAGING,
        ),
    }
