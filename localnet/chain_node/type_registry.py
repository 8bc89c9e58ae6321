"""The portable type registry of the runtime metadata, built from type expressions.

A type is written as Rust writes it: `u16`, `Vec<(AccountId32, u64)>`, `Option<Compact<u64>>`, `[u8; 32]`,
or the short name of a struct or enum declared in the tables of `runtime_types`.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import assert_never

from localnet.chain_node.scale_encoding import compact, option, text, vector

Fields = tuple[tuple[str, str], ...]
"""(field name, type expression); the name of a tuple field is empty."""

_PRIMITIVES = ("bool", "char", "str", "u8", "u16", "u32", "u64", "u128", "u256")
_PRIMITIVES_SIGNED = ("i8", "i16", "i32", "i64", "i128", "i256")
_PRIMITIVE_INDEX = {name: index for index, name in enumerate(_PRIMITIVES + _PRIMITIVES_SIGNED)}
_NO_DOCS = compact(0)


@dataclass(frozen=True)
class Struct:
    path: str
    fields: Fields


@dataclass(frozen=True)
class Variant:
    index: int
    name: str
    fields: Fields = ()
    docs: str = ""


@dataclass(frozen=True)
class Enum:
    path: str
    variants: tuple[Variant, ...]


class TypeRegistry:
    """Gives every type expression a number, and encodes the table of all of them.

    Raises:
        KeyError: an expression names a type that no table declares.
    """

    def __init__(self, declared: Mapping[str, Struct | Enum]) -> None:
        self._declared = dict(declared)
        self._ids: dict[str, int] = {}
        self._encoded: list[bytes] = []

    def declare(self, name: str, definition: Struct | Enum) -> None:
        """Adds a type that is only known now, such as the enum of all calls."""
        self._declared[name] = definition

    def id_of(self, expression: str) -> int:
        """The registry number of a type, adding it and whatever it is made of on first use."""
        key = "".join(expression.split())
        if key not in self._ids:
            number = self._ids[key] = len(self._encoded)
            self._encoded.append(b"")
            self._encoded[number] = self._definition(key)
        return self._ids[key]

    def reference(self, expression: str) -> bytes:
        """The registry number of a type, as the metadata writes it."""
        return compact(self.id_of(expression))

    def encode(self) -> bytes:
        return vector(compact(number) + body for number, body in enumerate(self._encoded))

    def _definition(self, key: str) -> bytes:
        if key in _PRIMITIVE_INDEX:
            return _type("", bytes([5, _PRIMITIVE_INDEX[key]]))
        if key.startswith("("):
            return _type("", b"\4" + vector(self.reference(item) for item in split_arguments(key[1:-1])))
        if key.startswith("["):
            item, length = key[1:-1].rsplit(";", 1)
            return _type("", b"\3" + int(length).to_bytes(4, "little") + self.reference(item))
        if "<" in key:
            return self._generic(*key[:-1].split("<", 1))
        return self._named(self._declared[key])

    def _generic(self, name: str, arguments: str) -> bytes:
        if name == "Vec":
            return _type("", b"\2" + self.reference(arguments))
        if name == "Compact":
            return _type("", b"\6" + self.reference(arguments))
        if name == "BoundedVec":
            return self._named(
                Struct("bounded_collections::bounded_vec::BoundedVec", (("", f"Vec<{arguments}>"),))
            )
        if name == "BTreeMap":
            return self._named(Struct("BTreeMap", (("", f"Vec<({arguments})>"),)))
        if name == "Option":
            parameter = vector([text("T") + option(self.reference(arguments))])
            variants = (Variant(0, "None"), Variant(1, "Some", (("", arguments),)))
            return _type("Option", self._variants(variants), parameter)
        raise KeyError(f"unknown generic type {name}<{arguments}>")

    def _named(self, definition: Struct | Enum) -> bytes:
        match definition:
            case Struct():
                return _type(definition.path, b"\0" + self._fields(definition.fields))
            case Enum():
                return _type(definition.path, self._variants(definition.variants))
            case _:
                assert_never(definition)

    def _variants(self, variants: tuple[Variant, ...]) -> bytes:
        return b"\1" + vector(
            text(variant.name) + self._fields(variant.fields) + bytes([variant.index]) + docs(variant.docs)
            for variant in variants
        )

    def _fields(self, fields: Fields) -> bytes:
        return vector(
            option(text(name) if name else None) + self.reference(kind) + option(text(kind)) + _NO_DOCS
            for name, kind in fields
        )


def docs(sentence: str) -> bytes:
    """A documentation field: a vector of lines."""
    return vector([text(sentence)] if sentence else [])


def split_arguments(arguments: str) -> list[str]:
    """`u16,Vec<(u8,u8)>` → [`u16`, `Vec<(u8,u8)>`]: commas inside brackets do not separate."""
    parts, depth, current = [], 0, ""
    for character in arguments:
        depth += (character in "<([") - (character in ">)]")
        if character == "," and depth == 0:
            parts.append(current)
            current = ""
        else:
            current += character
    return [*parts, current] if current else parts


def _type(path: str, definition: bytes, parameters: bytes = compact(0)) -> bytes:
    segments = vector(text(segment) for segment in path.split("::")) if path else compact(0)
    return segments + parameters + definition + _NO_DOCS
