"""Downloads that end: bounded in bytes and in time, whatever the other side does."""

import time
from collections.abc import Callable

import httpx

from shared.errors import DownloadFailed

SILENCE_S = 20.0
"""Longest wait for a connection, or for the next bytes."""

Monotonic = Callable[[], float]


class Downloads:
    """Downloads that together may take `deadline_s` seconds. Blocks; to be closed by `with`.

    Proxies of the environment are not used; redirects are followed.
    """

    def __init__(self, deadline_s: float, clock: Monotonic = time.monotonic) -> None:
        self._deadline_s, self._clock = deadline_s, clock
        self._ends_s = clock() + deadline_s
        self._client = httpx.Client(timeout=SILENCE_S, follow_redirects=True, trust_env=False)

    def __enter__(self) -> "Downloads":
        return self

    def __exit__(self, *_: object) -> None:
        self._client.close()

    def get(self, url: str, most_bytes: int) -> bytes:
        """The body of the answer.

        Raises:
            DownloadFailed: there is none, or an error status, too many bytes, or too slow; says which.
        """
        try:
            with self._client.stream("GET", url) as answer:
                if answer.status_code != httpx.codes.OK:
                    raise DownloadFailed(f"{url} answers with HTTP {answer.status_code}")
                return self._read(answer, url, most_bytes)
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise DownloadFailed(f"{url} can't be read: {str(error) or type(error).__name__}") from None

    def _read(self, answer: httpx.Response, url: str, most_bytes: int) -> bytes:
        data = bytearray()
        for chunk in answer.iter_bytes():
            data += chunk
            if len(data) > most_bytes:
                raise DownloadFailed(f"{url} serves more than {most_bytes} bytes")
            if self._clock() > self._ends_s:
                raise DownloadFailed(f"{url} took longer than {self._deadline_s:g} s")
        return bytes(data)
