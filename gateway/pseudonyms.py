"""What a client is called in the gateway's records: the same all day, and nothing that leads back to it.

The name is HMAC-SHA-256 of who it is under a key that this gateway makes each day (UTC) and forgets at its
end. So names of two gateways or two days can't be matched, and of days that are over nobody can find out
whom a name stood for, not even the operator, who could try every address.
"""

import fcntl
import hashlib
import hmac
import os
import secrets
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from gateway.clock import Clock
from shared.errors import ConfigError

KEY_FILE = "clients.key"
KEY_BYTES = 32
NAME_CHARS = 32
"""128 bits in hexadecimal: no two clients of a day share a name by chance."""

MOST_NAMES = 10_000
"""Names that are remembered for as long as their key is; making one takes ten times as long."""

DAY_MS = 86_400_000
_OWNER_ONLY = 0o600


class Pseudonyms:
    """Names of clients under today's key.

    Args:
        file: where the key of the day is kept, so that a restart does not rename everybody.
        new_key: gives KEY_BYTES of randomness.
    """

    def __init__(
        self,
        file: Path,
        clock: Clock,
        new_key: Callable[[int], bytes] = secrets.token_bytes,
    ) -> None:
        self._file, self._clock, self._new_key = file, clock, new_key
        self._day, self._key = -1, b""
        self._names: dict[str, str] = {}

    def renew(self) -> None:
        """Make a new key if the day has changed; called before the first name and then every few seconds.
        Blocks.

        Raises:
            ConfigError: the file can't be read or written, or is damaged.
        """
        day = self._clock.unix_ms() // DAY_MS
        if day == self._day:
            return
        try:
            with self._alone():
                stored = self._read()
                key = stored[1] if stored and stored[0] == day else self._write(day)
        except OSError as error:
            raise ConfigError(f"{self._file} can't be read or written: {error}; check --state-dir") from None
        self._day, self._key = day, key
        # Last: a name that is made meanwhile, under the old key, goes away with the old names.
        self._names = {}

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """Keep the gateway's other workers out: one of them makes the day's key, and the others take it."""
        self._file.parent.mkdir(parents=True, exist_ok=True)
        with self._file.with_suffix(".lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    def name(self, identity: str) -> str:
        """What the client is called today."""
        names = self._names
        name = names.get(identity)
        if name is None:
            if len(names) >= MOST_NAMES:
                names.clear()
            name = names[identity] = self._digest(f"client|{identity}").hex()[:NAME_CHARS]
        return name

    def number(self, identity: str, below: int) -> int:
        """A number from 0 to below `below`, the same for the same identity all day."""
        return int.from_bytes(self._digest(f"number|{identity}")[:8], "big") % below

    def _digest(self, message: str) -> bytes:
        assert self._key, "renew() comes first"
        return hmac.digest(self._key, message.encode(), hashlib.sha256)

    def _read(self) -> tuple[int, bytes] | None:
        if not self._file.exists():
            return None
        day, _, key = self._file.read_text().strip().partition(" ")
        try:
            found = int(day), bytes.fromhex(key)
        except ValueError:
            found = 0, b""
        if len(found[1]) != KEY_BYTES:
            raise ConfigError(f"{self._file} is damaged: delete it, and a new key is made")
        return found

    def _write(self, day: int) -> bytes:
        key = self._new_key(KEY_BYTES)
        new = self._file.with_suffix(".new")
        with os.fdopen(os.open(new, os.O_CREAT | os.O_TRUNC | os.O_WRONLY, _OWNER_ONLY), "w") as output:
            output.write(f"{day} {key.hex()}\n")
            output.flush()
            os.fsync(output.fileno())
        new.replace(self._file)
        return key
