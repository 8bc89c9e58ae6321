"""Whether a published epoch deserves to be followed: signature, age, place in history, arithmetic."""

from collections.abc import Iterator
from dataclasses import dataclass

from shared.canonical import sha256_hex
from shared.errors import SignatureMismatch
from shared.object_store import ObjectReader
from validator.epoch_arithmetic import check_results
from validator.epoch_evidence import EpochRefused, noise_of
from validator.epoch_reading import get, parse, read_inputs
from validator.epoch_summary import (
    LATEST_KEY,
    EpochSummary,
    LatestEpoch,
    check_summary_signature,
    summary_key,
)
from validator.known_calibration import KnownCalibration

MAX_CLOCK_SKEW_MS = 5 * 60_000
"""How far in this machine's future an epoch may have been closed."""

MAX_GAP_EPOCHS = 2000
"""Longest run of unseen summaries that is walked back (about a month of 25-minute epochs)."""


@dataclass(frozen=True)
class FollowedEpoch:
    """An epoch that was checked before: number, published bytes."""

    epoch: int
    data: bytes

    @property
    def digest(self) -> str:
        """SHA-256 of the summary."""
        return sha256_hex(self.data)

    def summary(self) -> EpochSummary:
        """The summary itself."""
        return parse("format", EpochSummary, self.data, summary_key(self.epoch))


@dataclass(frozen=True)
class Expectations:
    """What the follower knows by itself: who publishes, which subnet, how old is too old, what time it is.

    With the network's calibration p-values are recomputed too.
    """

    publisher: str
    netuid: int
    max_age_ms: int
    now_ms: int
    calibration: KnownCalibration | None = None


def check_latest(
    reader: ObjectReader, expected: Expectations, last: FollowedEpoch | None
) -> tuple[EpochSummary, FollowedEpoch]:
    """Read the newest epoch and check everything about it. Blocks.

    `last` is the newest epoch that passed before. It comes back unchanged while nothing newer is
    published, but too old is refused all the same.

    Raises:
        EpochRefused: it must not be followed; the message says why.
        ObjectMissing: nothing is published yet.
        StoreError: the source can't be read.
    """
    pointer = parse("pointer", LatestEpoch, reader.get(LATEST_KEY), LATEST_KEY)
    _check_not_back(pointer, last)
    found = FollowedEpoch(pointer.epoch, get(reader, summary_key(pointer.epoch)))
    if found.digest != pointer.digest:
        raise EpochRefused("digest", f"{summary_key(found.epoch)} is not what {LATEST_KEY} points to")
    summary = _check_summary(found, expected)
    _check_age(summary, expected)
    if last is None or found.epoch > last.epoch:
        previous = _check_chain(reader, summary, expected, last)
        inputs = read_inputs(reader, summary, previous)
        noise = noise_of(expected.calibration, summary.calibration_sha256)
        check_results(inputs, summary, previous, noise)
    return summary, found


def _check_not_back(pointer: LatestEpoch, last: FollowedEpoch | None) -> None:
    if last is None:
        return
    if pointer.epoch < last.epoch:
        raise EpochRefused(
            "replayed",
            f"the newest epoch is said to be {pointer.epoch}, but {last.epoch} was followed before",
        )
    if pointer.epoch == last.epoch and pointer.digest != last.digest:
        raise EpochRefused("rewritten", f"epoch {last.epoch} was changed after it was followed")


def _check_summary(found: FollowedEpoch, expected: Expectations) -> EpochSummary:
    """Checks that need nothing but the summary; its age is left out."""
    name = summary_key(found.epoch)
    summary = parse("format", EpochSummary, found.data, name)
    if summary.publisher != expected.publisher:
        raise EpochRefused(
            "publisher", f"{name} is published by {summary.publisher}, expected is {expected.publisher}"
        )
    try:
        check_summary_signature(summary)
    except SignatureMismatch as error:
        raise EpochRefused("signature", f"{name}: {error}") from None
    if summary.netuid != expected.netuid:
        raise EpochRefused("subnet", f"{name} is of subnet {summary.netuid}, expected is {expected.netuid}")
    if summary.epoch != found.epoch:
        raise EpochRefused("replayed", f"{name} holds epoch {summary.epoch}")
    return summary


def _check_age(summary: EpochSummary, expected: Expectations) -> None:
    age_ms = expected.now_ms - summary.closed_at_ms
    if age_ms > expected.max_age_ms:
        raise EpochRefused(
            "stale",
            f"epoch {summary.epoch} was closed {age_ms // 1000} s ago, more than "
            f"{expected.max_age_ms // 1000}: the publisher has stopped",
        )
    if age_ms < -MAX_CLOCK_SKEW_MS:
        raise EpochRefused(
            "stale", f"epoch {summary.epoch} was closed {-age_ms // 1000} s in the future: check the clocks"
        )


def _check_chain(
    reader: ObjectReader, summary: EpochSummary, expected: Expectations, last: FollowedEpoch | None
) -> EpochSummary | None:
    """Walk back to the epoch that was followed before; returns the summary right before `summary`.

    Without an earlier epoch one step back is taken: what came before the first look can't be known.
    """
    steps = _walk_back(reader, summary, expected)
    previous = next(steps, None)
    if last is None:
        return previous[1] if previous else None
    step, walked = previous, 1
    while step is not None and step[0].epoch > last.epoch and walked < MAX_GAP_EPOCHS:
        step, walked = next(steps, None), walked + 1
    if step is None or step[0].epoch != last.epoch or step[0].digest != last.digest:
        raise EpochRefused(
            "chain",
            f"epoch {summary.epoch} does not descend from epoch {last.epoch}, which was followed before",
        )
    assert previous is not None
    return previous[1]


def _walk_back(
    reader: ObjectReader, summary: EpochSummary, expected: Expectations
) -> Iterator[tuple[FollowedEpoch, EpochSummary]]:
    while summary.previous_digest is not None:
        before = FollowedEpoch(summary.epoch - 1, get(reader, summary_key(summary.epoch - 1)))
        if before.digest != summary.previous_digest:
            raise EpochRefused(
                "chain", f"epoch {before.epoch} is not the one that epoch {summary.epoch} was built on"
            )
        summary = _check_summary(before, expected)
        yield before, summary
