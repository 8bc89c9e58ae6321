"""The SCALE encoding of a type's zero: what a storage item reads as before anything was written to it."""

from collections.abc import Mapping

from localnet.chain_node.type_registry import Enum, Struct, split_arguments

_WIDTH_BYTES = {"bool": 1} | {
    f"{sign}{bits}": bits // 8 for sign in ("u", "i") for bits in (8, 16, 32, 64, 128, 256)
}
_EMPTY_VECTOR = b"\0"


def zero_value(expression: str, types: Mapping[str, Struct | Enum]) -> bytes:
    """Zero for numbers, empty for collections, and that of every field for a struct.

    Raises:
        KeyError: an expression names a type that `types` does not declare, or one that has no zero.
    """
    key = "".join(expression.split())
    if key in _WIDTH_BYTES:
        return bytes(_WIDTH_BYTES[key])
    if key.startswith(("Vec<", "BoundedVec<", "BTreeMap<", "Option<", "Compact<")):
        return _EMPTY_VECTOR
    if key.startswith("("):
        return b"".join(zero_value(item, types) for item in split_arguments(key[1:-1]))
    if key.startswith("["):
        item, length = key[1:-1].rsplit(";", 1)
        return zero_value(item, types) * int(length)
    match types[key]:
        case Struct(fields=fields):
            return b"".join(zero_value(kind, types) for _, kind in fields)
        case Enum(variants=(first, *_)) if first.index == 0 and not first.fields:
            return b"\0"
        case _:
            raise KeyError(f"{expression} has no zero value")
