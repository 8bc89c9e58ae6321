"""The Range header of HTTP (RFC 9110 section 14): one range of bytes."""

import re
from dataclasses import dataclass

_ONE_RANGE = re.compile(r"bytes=(\d{0,18})-(\d{0,18})")


@dataclass(frozen=True)
class ByteRange:
    """Bytes from `start` on, of an object of `size` bytes; `whole` says that no range was asked for."""

    start: int
    length: int
    size: int
    whole: bool = False

    @property
    def content_range(self) -> str:
        """The header of that name."""
        return f"bytes {self.start}-{self.start + self.length - 1}/{self.size}"


def byte_range(header: str | None, size: int) -> ByteRange | None:
    """What is asked for; None when the object ends before it.

    A header that is none of this, or lists several ranges, is as if it were not there, which the RFC allows.
    """
    whole = ByteRange(0, size, size, whole=True)
    found = _ONE_RANGE.fullmatch(header.strip()) if header else None
    if found is None or not (found[1] or found[2]):
        return whole
    if not found[1]:
        length = min(int(found[2]), size)
        return ByteRange(size - length, length, size) if length else None
    start, last = int(found[1]), int(found[2]) if found[2] else size - 1
    if found[2] and last < start:
        return whole
    return ByteRange(start, min(last, size - 1) - start + 1, size) if start < size else None
