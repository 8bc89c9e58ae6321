"""SCALE primitives that a metadata blob and a block header are made of.

Values of runtime types are encoded by the SDK's own codec; what stands here is only what is needed before
such a codec can exist, and the wire format of headers and extrinsics. Format: the SCALE specification in
the Substrate documentation.
"""

from collections.abc import Iterable

_SINGLE_BYTE_LIMIT = 1 << 6
_TWO_BYTE_LIMIT = 1 << 14
_FOUR_BYTE_LIMIT = 1 << 30
_BIG_INTEGER_MAX_BYTES = 67


class ScaleError(ValueError):
    """Bytes that are not the SCALE value they should be."""


def compact(value: int) -> bytes:
    """SCALE compact encoding of a non-negative integer."""
    if value < 0:
        raise ScaleError(f"a compact integer cannot be negative: {value}")
    if value < _SINGLE_BYTE_LIMIT:
        return bytes([value << 2])
    if value < _TWO_BYTE_LIMIT:
        return ((value << 2) | 1).to_bytes(2, "little")
    if value < _FOUR_BYTE_LIMIT:
        return ((value << 2) | 2).to_bytes(4, "little")
    body = value.to_bytes((value.bit_length() + 7) // 8, "little")
    if len(body) > _BIG_INTEGER_MAX_BYTES:
        raise ScaleError(f"integer of {len(body)} bytes does not fit a compact encoding")
    return bytes([((len(body) - 4) << 2) | 3]) + body


def text(value: str) -> bytes:
    """A length-prefixed UTF-8 string."""
    return sized(value.encode())


def sized(value: bytes) -> bytes:
    """`Vec<u8>`: the compact length, then the bytes."""
    return compact(len(value)) + value


def vector(items: Iterable[bytes]) -> bytes:
    """A vector of already encoded items."""
    encoded = list(items)
    return compact(len(encoded)) + b"".join(encoded)


def option(value: bytes | None) -> bytes:
    """`Option<T>` of an already encoded value."""
    return b"\0" if value is None else b"\1" + value


class Reader:
    """Reads SCALE values off the front of a byte string; every method raises `ScaleError` at its end."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    def take(self, count: int) -> bytes:
        """The next `count` bytes."""
        end = self._at + count
        if end > len(self._data):
            raise ScaleError(f"{count} bytes expected, {len(self._data) - self._at} left")
        chunk = self._data[self._at : end]
        self._at = end
        return chunk

    def rest(self) -> bytes:
        """All bytes not read yet."""
        return self.take(len(self._data) - self._at)

    def byte(self) -> int:
        return self.take(1)[0]

    def sized(self) -> bytes:
        """A `Vec<u8>`: the compact length, then as many bytes."""
        return self.take(self.compact())

    def integer(self, width_bytes: int) -> int:
        """A little-endian unsigned integer of fixed width."""
        return int.from_bytes(self.take(width_bytes), "little")

    def compact(self) -> int:
        """A compact integer; encodings longer than needed are refused, as a real node refuses them."""
        start = self._at
        first = self.byte()
        value = self._compact_body(first)
        if compact(value) != self._data[start : self._at]:
            raise ScaleError("compact integer is not in its shortest form")
        return value

    def _compact_body(self, first: int) -> int:
        mode = first & 0b11
        if mode == 0:
            return first >> 2
        if mode == 1:
            return (first | self.byte() << 8) >> 2
        if mode == 2:
            return (first | self.integer(3) << 8) >> 2
        return self.integer((first >> 2) + 4)
