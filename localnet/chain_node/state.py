"""The chain's key-value state: layers of uncommitted changes over what the blocks so far have written."""

from bisect import bisect_left
from collections.abc import Iterator, Mapping
from typing import Protocol

Changes = Mapping[bytes, bytes | None]
"""New value of every changed storage key; None removes the key."""


class ReadableState(Protocol):
    def read(self, key: bytes) -> bytes | None:
        """The value under a storage key, or None."""
        ...

    def keys(self, prefix: bytes) -> Iterator[bytes]:
        """Every key that begins with `prefix`, in ascending order."""
        ...


class CommittedState:
    """The state after the newest block, in memory."""

    def __init__(self, values: Mapping[bytes, bytes]) -> None:
        self._values = dict(values)
        self._sorted_keys = sorted(self._values)

    def read(self, key: bytes) -> bytes | None:
        return self._values.get(key)

    def keys(self, prefix: bytes) -> Iterator[bytes]:
        for index in range(bisect_left(self._sorted_keys, prefix), len(self._sorted_keys)):
            key = self._sorted_keys[index]
            if not key.startswith(prefix):
                return
            yield key

    def apply(self, changes: Changes) -> None:
        """Writes the changes."""
        keys_differ = any((key in self._values) != (value is not None) for key, value in changes.items())
        for key, value in changes.items():
            if value is None:
                self._values.pop(key, None)
            else:
                self._values[key] = value
        if keys_differ:
            self._sorted_keys = sorted(self._values)


class Overlay:
    """Changes that nobody else sees until their owner hands them on.

    A block is one over the committed state, an extrinsic is one over its block, and the state at a past
    block is one that takes back what came later.
    """

    def __init__(self, base: ReadableState, changes: Changes | None = None) -> None:
        self._base = base
        self._changes: dict[bytes, bytes | None] = dict(changes or {})

    @property
    def changes(self) -> Changes:
        return self._changes

    def read(self, key: bytes) -> bytes | None:
        return self._changes[key] if key in self._changes else self._base.read(key)

    def keys(self, prefix: bytes) -> Iterator[bytes]:
        touched = {key for key in self._changes if key.startswith(prefix)}
        present = {key for key in touched if self._changes[key] is not None}
        untouched = (key for key in self._base.keys(prefix) if key not in touched)
        return iter(sorted(present.union(untouched)) if touched else untouched)

    def write(self, key: bytes, value: bytes | None) -> None:
        self._changes[key] = value

    def absorb(self, changes: Changes) -> None:
        """Takes over the changes of a layer that stood on this one."""
        self._changes.update(changes)

    def effective_changes(self) -> Changes:
        """The changes that differ from the layer below."""
        return {key: value for key, value in self._changes.items() if self._base.read(key) != value}
