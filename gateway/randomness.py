"""Randomness of the system, fetched some kilobytes at a time: a call to the kernel a number costs more."""

import os
import random

BUFFER_BYTES = 4096


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
