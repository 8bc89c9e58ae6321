"""What publishing asks of any store, tried with objects below `checks/` that nobody else uses."""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Protocol

from shared.diagnosis import Finding, bad, note, ok
from shared.errors import ObjectExists, ObjectMissing, StoreError
from shared.object_store import ObjectStore
from validator.epoch_summary import LATEST_KEY

LARGE_BYTES = 8 << 20


class ErasableStore(ObjectStore, Protocol):
    """A store from which probes can be removed again."""

    def delete(self, key: str) -> None:
        """Remove an object.

        Raises:
            StoreError: the store failed, or forbids it.
        """
        ...


Explain = Callable[[StoreError], tuple[str, str]]
"""(what happened, what to do) for a failure of one kind of store."""


@dataclass(frozen=True)
class Probe:
    """The objects of one look: `key` is created, `pointer` replaced like the pointer to the newest epoch.

    `data` and `other` are different bytes of the same length.
    """

    folder: str
    data: bytes
    other: bytes

    @property
    def key(self) -> str:
        """Created once, like an epoch's files."""
        return f"{self.folder}/probe.jsonl"

    @property
    def pointer(self) -> str:
        """Replaced, like the pointer to the newest epoch, and named alike, so that caches treat it alike."""
        return f"{self.folder}/{LATEST_KEY.rsplit('/', 1)[-1]}"

    @property
    def large(self) -> str:
        """Of 8 MiB."""
        return f"{self.folder}/large.jsonl"

    @property
    def missing(self) -> str:
        """Never written."""
        return f"{self.folder}/missing.json"


class ObjectChecks:
    """The checks that hold for every store. `written` are the keys of probes that are there.

    `pause` waits until one object may be written again: R2 allows it once a second.
    """

    def __init__(
        self, store: ErasableStore, probe: Probe, explain: Explain, pause: Callable[[], None]
    ) -> None:
        self._store, self._probe, self._explain, self._pause = store, probe, explain, pause
        self.written: list[str] = []

    def _failed(self, check: str, action: str, error: StoreError) -> Finding:
        words, cure = self._explain(error)
        return bad(check, f"{action}: {words}", cure)

    def reading_what_is_missing(self) -> Iterator[Finding]:
        """An empty store must be told from a forbidden one, or the first epoch can't be published."""
        try:
            self._store.keys(self._probe.folder)
        except StoreError as error:
            if error.code not in ("AccessDenied", "403", "Forbidden"):
                yield self._failed("list", "objects can't be listed", error)
                return
            yield note("list", "this key may not list objects, which publishing never does")
        else:
            yield ok("list", "the store is there, and objects may be listed")
        try:
            self._store.get(self._probe.missing)
        except ObjectMissing:
            yield ok("missing", "an object that does not exist is said not to exist")
        except StoreError as error:
            yield self._failed(
                "missing", "an object that does not exist can't be told from a forbidden one", error
            )
        else:
            yield bad("missing", "the store has an object that nobody wrote", "take another store")

    def creating(self) -> Iterator[Finding]:
        """Files of an epoch are created once, and never replaced."""
        probe = self._probe
        try:
            self._store.create(probe.key, probe.data)
        except StoreError as error:
            yield self._failed("write", f"{probe.key} can't be created", error)
            return
        self.written.append(probe.key)
        yield ok("write", f"created {probe.key}")
        try:
            self._store.create(probe.key, probe.other)
        except ObjectExists:
            yield ok("create-only", "creating it again is refused, so history can't be overwritten unnoticed")
        except StoreError as error:
            yield self._failed("create-only", "creating it again fails otherwise than it should", error)
        else:
            yield bad(
                "create-only",
                "creating it again replaced it: this store ignores `If-None-Match: *`, so published history "
                "could be overwritten unnoticed",
                "publish to a service that honours it (R2, Amazon S3, MinIO), or into a folder",
            )

    def reading(self) -> Iterator[Finding]:
        """Readers get the bytes that were written, whole and in part."""
        key, data = self._probe.key, self._probe.data
        try:
            same = self._store.get(key) == data
        except StoreError as error:
            yield self._failed("read", f"{key} can't be read back", error)
            return
        if not same:
            yield bad("read", f"{key} holds other bytes than were created first", "see create-only")
            return
        yield ok("read", "what was created first is read back, byte for byte")
        try:
            part = self._store.get_range(key, 100, 50)
            size = self._store.size(key)
        except StoreError as error:
            yield self._failed("ranges", "a part of an object can't be read", error)
            return
        if part != data[100:150] or size != len(data):
            yield bad("ranges", "a part of an object, or its size, is wrong", "take another service")
        else:
            yield ok("ranges", "parts of objects and their sizes can be read")

    def replacing(self) -> Iterator[Finding]:
        """The pointer to the newest epoch is replaced with every epoch."""
        pointer = self._probe.pointer
        try:
            self._store.put(pointer, self._probe.data)
            self.written.append(pointer)
            self.replace_pointer(self._probe.other)
            found = self._store.get(pointer)
        except StoreError as error:
            yield self._failed("replace", f"{pointer} can't be replaced", error)
            return
        if found != self._probe.other:
            yield bad(
                "replace",
                "after an object was replaced, its old bytes are read: a cache stands before the store",
                "give the service's own address with --store-endpoint",
            )
        else:
            yield ok("replace", "the pointer to the newest epoch can be replaced")

    def replace_pointer(self, data: bytes) -> None:
        """Write it once more.

        Raises:
            StoreError: the store failed, or forbids it.
        """
        self._pause()
        self._store.put(self._probe.pointer, data)

    def storing_much(self) -> Iterator[Finding]:
        """Files of a busy epoch have megabytes."""
        data = self._probe.data * (LARGE_BYTES // len(self._probe.data))
        began_s = time.monotonic()
        try:
            self._store.create(self._probe.large, data)
            self.written.append(self._probe.large)
            written_s = time.monotonic()
            same = self._store.get(self._probe.large) == data
        except StoreError as error:
            yield self._failed("large", "an object of 8 MiB can't be stored", error)
            return
        if not same:
            yield bad("large", "an object of 8 MiB is read back otherwise", "take another service")
            return
        wrote_s, read_s = written_s - began_s, time.monotonic() - written_s
        yield ok("large", f"8 MiB are written in {wrote_s:.1f} s and read in {read_s:.1f} s")

    def removing(self, by_key: bool) -> Iterator[Finding]:
        """Probes are removed, where that is allowed; whether it is matters where a key may be stolen."""
        for key in sorted(set(self.written)):
            try:
                self._store.delete(key)
            except StoreError as error:
                yield note(
                    "delete",
                    f"the probes stay in {self._probe.folder}: {error.code or error}. That this key can't "
                    "delete is good: publishing never deletes, and a stolen key can't either",
                )
                return
        if self.written and not by_key:
            yield ok("delete", "the probes are removed again")
        elif self.written:
            yield note(
                "delete",
                "the probes are removed again; this key may delete, which publishing never does",
                "take a key without that permission, where the service has such keys",
            )
