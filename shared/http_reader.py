"""Published objects below a public URL, read without credentials."""

import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from shared.errors import ObjectMissing, StoreError
from shared.object_keys import MAX_OBJECT_BYTES, check_key, check_range, whole_range

if TYPE_CHECKING:
    import httpx

HTTP_DEADLINE_S = 600.0
"""For one object over HTTP, however slowly its bytes come: 256 MiB at 0.5 MB/s."""

ASKS = 4
"""How often one object is asked for where the server says that it has too much to do (429 or 503)."""

MAX_WAIT_S = 60.0
"""Between two of them, whatever the server says in Retry-After."""

_IDENTITY = {"Accept-Encoding": "identity"}
"""Sizes and ranges are those of the object, not of a compressed copy that some proxy makes of it."""

_CONTENT_RANGE = re.compile(r"bytes (\d+)-\d+/(\d+|\*)")


class HttpReader:
    """Published objects below a public URL."""

    def __init__(
        self,
        url: str,
        timeout_s: float = 30.0,
        deadline_s: float = HTTP_DEADLINE_S,
        clock: Callable[[], float] = time.monotonic,
        pause: Callable[[float], None] = time.sleep,
    ) -> None:
        self._url, self._pause = url.rstrip("/"), pause
        self._timeout_s, self._deadline_s, self._clock = timeout_s, deadline_s, clock

    @contextmanager
    def _answer(
        self, key: str, method: str = "GET", headers: dict[str, str] | None = None
    ) -> "Iterator[httpx.Response]":
        """The answer for an object that is there; failures on the way become StoreErrors."""
        import httpx

        url = f"{self._url}/{check_key(key)}"
        try:
            for asks_left in reversed(range(ASKS)):
                with httpx.stream(method, url, headers=headers, timeout=self._timeout_s) as answer:
                    if answer.status_code not in (429, 503) or not asks_left:
                        self._check(key, answer)
                        yield answer
                        return
                    wait_s = _retry_after_s(answer)
                self._pause(wait_s)
        except httpx.HTTPError as error:
            raise StoreError(f"reading {key} at {self._url} failed: {error}") from None

    def _check(self, key: str, answer: "httpx.Response") -> None:
        if answer.status_code in (403, 404):
            raise ObjectMissing(f"there is no object {key} at {self._url}")
        if answer.status_code == 416:
            raise StoreError(f"{key} at {self._url} ends before the range that was asked for")
        answer.raise_for_status()

    def _chunks(self, key: str, answer: "httpx.Response", ends_s: float) -> Iterator[bytes]:
        for chunk in answer.iter_bytes():
            if self._clock() > ends_s:
                raise StoreError(f"{key} at {self._url} took longer than {self._deadline_s:g} s")
            yield chunk

    def get(self, key: str, most_bytes: int = MAX_OBJECT_BYTES) -> bytes:
        ends_s = self._clock() + self._deadline_s
        data = bytearray()
        with self._answer(key) as answer:
            for chunk in self._chunks(key, answer, ends_s):
                data += chunk
                if len(data) > most_bytes:
                    raise StoreError(f"{key} at {self._url} is larger than {most_bytes} bytes")
        return bytes(data)

    def get_range(self, key: str, start: int, length: int) -> bytes:
        check_range(start, length)
        ends_s = self._clock() + self._deadline_s
        wanted = {**_IDENTITY, "Range": f"bytes={start}-{start + length - 1}"}
        data = bytearray()
        with self._answer(key, headers=wanted) as answer:
            skip = self._bytes_before(key, answer, start)
            for chunk in self._chunks(key, answer, ends_s):
                data += chunk[skip:]
                skip = max(0, skip - len(chunk))
                if len(data) >= length:
                    break
        return whole_range(bytes(data[:length]), start, length, f"{key} at {self._url}")

    def _bytes_before(self, key: str, answer: "httpx.Response", start: int) -> int:
        """How many bytes of the answer come before the range: a server may send the whole object instead."""
        if answer.status_code != 206:
            return start
        told = _CONTENT_RANGE.fullmatch(answer.headers.get("Content-Range", ""))
        if told is None or int(told[1]) != start:
            raise StoreError(f"{key} at {self._url} answers with another range than was asked for")
        return 0

    def size(self, key: str) -> int:
        with self._answer(key, "HEAD", _IDENTITY) as answer:
            told = answer.headers.get("Content-Length", "")
        if not told.isascii() or not told.isdigit():
            raise StoreError(f"{self._url} does not say how large {key} is")
        return int(told)


def _retry_after_s(answer: "httpx.Response") -> float:
    """How long a server asks to wait; a second, where it says nothing that can be read."""
    told = answer.headers.get("Retry-After", "")
    return min(float(told), MAX_WAIT_S) if re.fullmatch(r"\d{1,6}", told, re.ASCII) else 1.0
