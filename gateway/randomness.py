"""Randomness of the system, fetched some kilobytes at a time: a call to the kernel a number costs more."""

import os
import random

BUFFER_BYTES = 4096


REQUEST_ID_BYTES = 16


class RequestIds:
    """Makes ids of requests: 128 random bits in hexadecimal, all of the system's."""

    def __init__(self) -> None:
        self._digits, self._used = "", 0

    def __call__(self) -> str:
        """An id that nobody can guess."""
        if self._used == len(self._digits):
            self._digits, self._used = os.urandom(BUFFER_BYTES).hex(), 0
        start, self._used = self._used, self._used + 2 * REQUEST_ID_BYTES
        return self._digits[start : self._used]


class BufferedSystemRandom(random.SystemRandom):
    """As good as random.SystemRandom: every byte comes from the system and is used once."""

    def __init__(self) -> None:
        super().__init__()
        self._bytes, self._used = b"", 0

    def random(self) -> float:
        """From 0 to below 1, in steps of 2**-53."""
        return self.getrandbits(53) * 2.0**-53

    def getrandbits(self, k: int, /) -> int:
        """A whole number of `k` bits."""
        size = (k + 7) // 8
        if size > BUFFER_BYTES:
            return super().getrandbits(k)
        if self._used + size > len(self._bytes):
            self._bytes, self._used = os.urandom(BUFFER_BYTES), 0
        start, self._used = self._used, self._used + size
        return int.from_bytes(self._bytes[start : self._used], "big") >> (size * 8 - k)
