"""The objects of the store that anybody may read: which keys there are, and what is known of each.

A key is served when it has the form of a published object's, and its epoch is not above the newest. So a
stranger's keys reach the store only where something lies. Digests come from the signed summaries.
"""

import re
import threading
from collections import OrderedDict
from dataclasses import dataclass

from gateway.clock import Clock
from gateway.dataset_store import DatasetStore
from gateway.published_epochs import LATEST_KEY, MAX_POINTER_BYTES, MAX_SUMMARY_BYTES, signed_summary
from gateway.published_summary import Pointer, parse
from shared.canonical import sha256_hex
from shared.dataset import manifest_key
from shared.errors import ObjectMissing
from shared.object_store import ObjectReader

POINTER_AGE_S = 2.0
"""How old the newest epoch's number may be: the store is asked for it so seldom, however many ask here."""

MOST_KNOWN = 20_000
"""Objects whose digests are remembered, some 10 MB; the one that was learned of first is forgotten first."""

_SUMMARY = re.compile(r"epochs/([1-9]\d{0,9})\.json")
_MANIFEST = re.compile(r"epochs/([1-9]\d{0,9})/manifest\.json")
_TABLE = re.compile(r"dataset/[a-z]+/date=\d{4}-\d{2}-\d{2}/epoch=([1-9]\d{0,9})/part-\d{1,4}\.parquet")

JSON = "application/json"
PARQUET = "application/vnd.apache.parquet"


@dataclass(frozen=True)
class ObjectFacts:
    """What is said of an object before its bytes; `lasting` says that it never changes."""

    key: str
    sha256: str
    size: int
    media_type: str
    lasting: bool


def epoch_of(key: str) -> int | None:
    """The epoch whose object a key names; None of the pointer, and of keys that no object has."""
    found = _SUMMARY.fullmatch(key) or _MANIFEST.fullmatch(key) or _TABLE.fullmatch(key)
    return int(found[1]) if found else None


class DatasetObjects:
    """Every method blocks; all are for any thread.

    Raises StoreError when the store can't be read, EpochRefused when what lies there can't be believed.
    """

    def __init__(self, reader: ObjectReader, store: DatasetStore, clock: Clock) -> None:
        self._reader, self._store, self._clock = reader, store, clock
        self._lock = threading.Lock()
        self._known: OrderedDict[str, ObjectFacts] = OrderedDict()
        self._pointer: tuple[float, bytes] | None = None

    def facts(self, key: str) -> ObjectFacts:
        """What is known of an object.

        Raises:
            ObjectMissing: there is none.
        """
        if key == LATEST_KEY:
            data = self.pointer()
            return ObjectFacts(key, sha256_hex(data), len(data), JSON, lasting=False)
        epoch = epoch_of(key)
        if epoch is None or epoch > parse(Pointer, self.pointer(), LATEST_KEY).epoch:
            raise ObjectMissing(f"nothing is published under {key}")
        with self._lock:
            known = self._known.get(key)
        if known is None:
            known = self._find(key, epoch)
            with self._lock:
                self._known[key] = known
                while len(self._known) > MOST_KNOWN:
                    self._known.popitem(last=False)
        return known

    def read(self, key: str, start: int, length: int) -> bytes:
        """Some bytes of an object.

        Raises:
            ObjectMissing: there is none.
        """
        if key == LATEST_KEY:
            return self.pointer()[start : start + length]
        return self._reader.get_range(key, start, length)

    def pointer(self) -> bytes:
        """The pointer to the newest epoch, at most `POINTER_AGE_S` old.

        Raises:
            ObjectMissing: nothing is published.
        """
        with self._lock:
            now_s, kept = self._clock.monotonic_s(), self._pointer
            if kept is None or now_s - kept[0] >= POINTER_AGE_S:
                kept = self._pointer = (now_s, self._reader.get(LATEST_KEY, MAX_POINTER_BYTES))
        return kept[1]

    def _find(self, key: str, epoch: int) -> ObjectFacts:
        if _SUMMARY.fullmatch(key):
            data = self._reader.get(key, MAX_SUMMARY_BYTES)
            return ObjectFacts(key, sha256_hex(data), len(data), JSON, lasting=True)
        files, manifest_sha256 = self._named(epoch)
        if key == manifest_key(epoch):
            return ObjectFacts(key, manifest_sha256, self._reader.size(key), JSON, lasting=True)
        if key not in files:
            raise ObjectMissing(f"epoch {epoch} names no {key}")
        sha256, size = files[key]
        return ObjectFacts(key, sha256, size, PARQUET, lasting=True)

    def _named(self, epoch: int) -> tuple[dict[str, tuple[str, int]], str]:
        """The files that an epoch's summary names, with digest and size, and the digest of its manifest."""
        told = self._store.epoch(epoch)
        if told is not None:
            files = {file["key"]: (file["sha256"], file["size_bytes"]) for file in told["files"]}
            return files, told["manifest_sha256"]
        key = f"epochs/{epoch}.json"
        summary = signed_summary(self._reader.get(key, MAX_SUMMARY_BYTES), epoch, None).summary
        return {file.key: (file.sha256, file.size_bytes) for file in summary.files}, summary.manifest_sha256
