"""Names and bounds of published objects, which every kind of store agrees on."""

import re

from shared.errors import StoreError

MAX_OBJECT_BYTES = 1 << 30

_KEY = re.compile(r"[A-Za-z0-9._=-]+(/[A-Za-z0-9._=-]+)*")


def check_key(key: str) -> str:
    """The key itself, if it is a plain relative path of letters, digits and ``._=-``.

    Raises:
        StoreError: it is not: no empty part, no `..`, no leading slash.
    """
    if not _KEY.fullmatch(key) or any(part in (".", "..") for part in key.split("/")):
        raise StoreError(f"not an object key: {key!r}")
    return key


def check_range(start: int, length: int) -> None:
    """Refuse a range that no object can have.

    Raises:
        ValueError: it begins before the object, or has no bytes.
    """
    if start < 0 or length < 1:
        raise ValueError(f"not a range of an object: {length} bytes from {start}")


def whole_range(data: bytes, start: int, length: int, place: str) -> bytes:
    """The bytes of a range, if all of them came; `place` names the object and its store.

    Raises:
        StoreError: the object ends within the range, or before it.
    """
    if len(data) != length:
        raise StoreError(f"{place} ends before {length} bytes from {start} are read")
    return data
