"""The Arrow schema of a message's fields, so that a table's columns are what its message says."""

import types
from collections.abc import Mapping
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import pyarrow as pa
from annotated_types import Le, Lt
from pydantic.fields import FieldInfo

from shared.identifiers import Message

_INT64_END = 1 << 63

WIDE_INTEGER = pa.string()
"""Of integers that may not fit 64 signed bits, such as unsigned seeds: decimal digits."""


def arrow_schema(kind: type[Message], descriptions: Mapping[str, str] | None = None) -> pa.Schema:
    """One column for each field but `version`, in order; what a field does not admit is not nullable.

    Args:
        descriptions: words for each column, kept in the file as the column's metadata.

    Raises:
        TypeError: a field has no Arrow form; integers need an upper bound, so that no peer's number can be
            too large for its column.
    """
    told = descriptions or {}
    return pa.schema(
        [_with_words(pa.field(name, *column), told.get(name)) for name, column in _columns(kind).items()]
    )


def wide_integers(kind: type[Message]) -> tuple[tuple[str, ...], ...]:
    """The paths of fields that are written as `WIDE_INTEGER`; none may lie in a list."""
    paths: list[tuple[str, ...]] = []
    for name, field in _fields(kind).items():
        annotation, _ = _without_none(field.annotation)
        if _is_message(annotation):
            paths += [(name, *rest) for rest in wide_integers(annotation)]
        elif _is_integer(annotation) and _columns_type(field) == WIDE_INTEGER:
            paths.append((name,))
    return tuple(paths)


def _with_words(field: pa.Field, words: str | None) -> pa.Field:
    return field.with_metadata({"description": words}) if words else field


def _fields(kind: type[Message]) -> dict[str, FieldInfo]:
    return {name: field for name, field in kind.model_fields.items() if name != "version"}


def _columns(kind: type[Message]) -> dict[str, tuple[pa.DataType, bool]]:
    return {
        name: (_columns_type(field), _without_none(field.annotation)[1])
        for name, field in _fields(kind).items()
    }


def _columns_type(field: FieldInfo) -> pa.DataType:
    annotation, _ = _without_none(field.annotation)
    return _type(annotation, field.metadata)


def _without_none(annotation: Any) -> tuple[Any, bool]:
    """The annotation of a value that is there, and whether it may be missing."""
    if get_origin(annotation) in (Union, types.UnionType):
        arguments = get_args(annotation)
        present = [one for one in arguments if one is not types.NoneType]
        if len(present) == 1:
            return present[0], len(present) < len(arguments)
    return annotation, False


def _type(annotation: Any, bounds: list[Any]) -> pa.DataType:
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return _type(arguments[0], [*bounds, *_flat(arguments[1:])])
    if origin is Literal and all(isinstance(one, str) for one in arguments):
        return pa.string()
    if origin is tuple and len(arguments) == 2 and arguments[1] is Ellipsis:
        return pa.list_(pa.field("element", _type(arguments[0], []), nullable=False))
    if origin is dict:
        return pa.map_(_type(arguments[0], []), _type(arguments[1], []))
    if _is_message(annotation):
        columns = _columns(annotation)
        return pa.struct([pa.field(name, *column) for name, column in columns.items()])
    if annotation is int:
        return _integer(bounds)
    simple = {str: pa.string(), float: pa.float64(), bool: pa.bool_()}
    if annotation in simple:
        return simple[annotation]
    raise TypeError(f"{annotation} has no Arrow type")


def _is_message(annotation: Any) -> bool:
    return isinstance(annotation, type) and issubclass(annotation, Message)


def _is_integer(annotation: Any) -> bool:
    return annotation is int or (get_origin(annotation) is Annotated and get_args(annotation)[0] is int)


def _flat(metadata: tuple[Any, ...]) -> list[Any]:
    """Bounds that stand by themselves and those inside of `Field(...)`."""
    return [bound for one in metadata for bound in (one.metadata if isinstance(one, FieldInfo) else [one])]


def _integer(bounds: list[Any]) -> pa.DataType:
    ends = [one.le + 1 for one in bounds if isinstance(one, Le) and isinstance(one.le, int)]
    ends += [one.lt for one in bounds if isinstance(one, Lt) and isinstance(one.lt, int)]
    if not ends:
        raise TypeError("an integer without an upper bound has no Arrow type")
    return pa.int64() if min(ends) <= _INT64_END else WIDE_INTEGER
