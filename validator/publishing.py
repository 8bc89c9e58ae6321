"""Putting a sealed epoch into the store: files first, then the manifest, the summary and the pointer.

Every object is created once. Publishing again after a crash finds its own bytes and goes on; other
bytes under the same name mean that somebody else publishes there.
"""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

from shared.canonical import canonical_json, sha256_hex
from shared.dataset import manifest_key
from shared.errors import ConfigError, MalformedMessage, ObjectExists, ObjectMissing, StoreError
from shared.object_store import ObjectReader, ObjectStore
from validator.epoch_summary import (
    LATEST_KEY,
    EpochSummary,
    LatestEpoch,
    check_summary_signature,
    parse_message,
    summary_key,
)

UPLOADS_AT_ONCE = 4
"""A put costs R2 some 0.1 s of waiting and boto3 2 to 4 ms of CPU, so a few at a time are as good as many."""


def publish(store: ObjectStore, epoch: int, files: ObjectReader) -> None:
    """Publish an epoch whose files, manifest and summary are in `files`; doing it twice does no harm. Blocks.

    Raises:
        StoreError: the store failed, or holds something else under one of the names.
        MalformedMessage: the summary is damaged.
    """
    data = files.get(summary_key(epoch))
    summary = parse_message(EpochSummary, data, summary_key(epoch))
    promised = [(file.key, file.sha256) for file in summary.files]
    promised.append((manifest_key(epoch), summary.manifest_sha256))
    _create_all(store, files, promised)
    _create(store, summary_key(epoch), data)
    if _newest(store) <= epoch:
        store.put(LATEST_KEY, canonical_json(LatestEpoch(epoch=epoch, digest=sha256_hex(data))))


def _newest(store: ObjectReader) -> int:
    """The epoch that the pointer names: another auditor may have published later ones meanwhile."""
    try:
        return parse_message(LatestEpoch, store.get(LATEST_KEY), LATEST_KEY).epoch
    except (ObjectMissing, MalformedMessage):
        return 0


def _create_all(store: ObjectStore, files: ObjectReader, promised: Sequence[tuple[str, str]]) -> None:
    def create(one: tuple[str, str]) -> None:
        key, sha256 = one
        data = files.get(key)
        if sha256_hex(data) != sha256:
            raise StoreError(
                f"{key} is no longer what the signed summary says: restore the state folder's spool"
            )
        _create(store, key, data)

    with ThreadPoolExecutor(UPLOADS_AT_ONCE, "upload") as pool:
        for _ in pool.map(create, promised):
            pass


def _create(store: ObjectStore, key: str, data: bytes) -> None:
    try:
        store.create(key, data)
    except ObjectExists:
        if store.get(key) != data:
            raise StoreError(
                f"{key} already holds something else: another auditor publishes in this store, "
                "or an older copy of the database was restored; give each auditor a --store of its own"
            ) from None


def last_published(store: ObjectReader, publisher: str) -> tuple[int, bytes] | None:
    """Number and bytes of the newest summary in the store, to continue after it; None when it is empty.

    Raises:
        ConfigError: what is there was published by somebody else.
        StoreError: the store failed.
        MalformedMessage, SignatureMismatch: what is there is damaged.
    """
    try:
        pointer = parse_message(LatestEpoch, store.get(LATEST_KEY), LATEST_KEY)
    except ObjectMissing:
        return None
    data = store.get(summary_key(pointer.epoch))
    summary = parse_message(EpochSummary, data, summary_key(pointer.epoch))
    if summary.publisher != publisher:
        raise ConfigError(
            f"--store holds epochs that {summary.publisher} published; this auditor is {publisher}: "
            "name another folder or prefix"
        )
    check_summary_signature(summary)
    return pointer.epoch, data
