"""Putting a sealed epoch into the store: files first, then the summary, then the pointer.

Every object is created once. Publishing again after a crash finds its own bytes and goes on; other
bytes under the same name mean that somebody else publishes there.
"""

from collections.abc import Mapping

from shared.canonical import canonical_json, sha256_hex
from shared.errors import ConfigError, ObjectExists, ObjectMissing, StoreError
from shared.object_store import ObjectReader, ObjectStore
from validator.epoch_state import SealedEpoch
from validator.epoch_summary import (
    LATEST_KEY,
    EpochSummary,
    LatestEpoch,
    check_summary_signature,
    parse_message,
    summary_key,
)


def publish(store: ObjectStore, sealed: SealedEpoch, files: Mapping[str, bytes]) -> None:
    """Publish an epoch; doing it twice does no harm. Blocks.

    Raises:
        StoreError: the store failed, or holds something else under one of the names.
    """
    for promised in sealed.summary().files:
        if sha256_hex(files[promised.key]) != promised.sha256:
            raise StoreError(
                f"{promised.key} is no longer what the signed summary says: restore the database"
            )
    for key, data in sorted(files.items()):
        _create(store, key, data)
    _create(store, summary_key(sealed.number), sealed.data)
    pointer = LatestEpoch(epoch=sealed.number, digest=sealed.digest)
    store.put(LATEST_KEY, canonical_json(pointer))


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
