"""Whether a published epoch deserves to be followed: signature, age, place in history, arithmetic."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TypeVar

from shared.canonical import sha256_hex
from shared.errors import MalformedMessage, ObjectMissing, SignatureMismatch
from shared.identifiers import Message
from shared.object_store import ObjectReader
from validator.audit_coverage import check_coverage
from validator.epoch_evidence import EpochRefused, RefusalCause, check_evidence, noise_of
from validator.epoch_summary import (
    LATEST_KEY,
    EpochSummary,
    LatestEpoch,
    check_summary_signature,
    parse_lines,
    parse_message,
    requests_key,
    results_of,
    rounds_key,
    summary_key,
    verdicts_key,
)
from validator.known_calibration import KnownCalibration
from validator.measurement import EpochInputs
from validator.probe_rounds import ProbeRound
from validator.request_facts import RequestFacts
from validator.round_check import check_rounds
from validator.round_history import NO_ROUNDS, RoundInputs
from validator.scoring_config import ScoringConfig
from validator.verdicts import Verdict

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
    pointer = _parse("pointer", LatestEpoch, reader.get(LATEST_KEY), LATEST_KEY)
    _check_not_back(pointer, last)
    found = FollowedEpoch(pointer.epoch, _get(reader, summary_key(pointer.epoch)))
    if found.digest != pointer.digest:
        raise EpochRefused("digest", f"{summary_key(found.epoch)} is not what {LATEST_KEY} points to")
    summary = _check_summary(found, expected)
    _check_age(summary, expected)
    if last is None or found.epoch > last.epoch:
        previous = _check_chain(reader, summary, expected, last)
        _check_results(reader, summary, previous, expected.calibration)
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
    summary = _parse("format", EpochSummary, found.data, name)
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
        before = FollowedEpoch(summary.epoch - 1, _get(reader, summary_key(summary.epoch - 1)))
        if before.digest != summary.previous_digest:
            raise EpochRefused(
                "chain", f"epoch {before.epoch} is not the one that epoch {summary.epoch} was built on"
            )
        summary = _check_summary(before, expected)
        yield before, summary


def _check_results(
    reader: ObjectReader,
    summary: EpochSummary,
    previous: EpochSummary | None,
    calibration: KnownCalibration | None,
) -> None:
    inputs = EpochInputs(
        epoch=summary.epoch,
        requests=_lines(reader, summary, requests_key(summary.epoch), RequestFacts),
        verdicts=_lines(reader, summary, verdicts_key(summary.epoch), Verdict),
        miners=summary.miners,
        history=summary.history,
        blocks=summary.challenge_blocks,
        refusals=summary.refusals,
        rounds=RoundInputs(
            secret=summary.round_secret,
            commitment=summary.round_commitment,
            rounds=_lines(reader, summary, rounds_key(summary.epoch), ProbeRound),
            history=previous.rounds_after if previous else NO_ROUNDS,
        ),
    )
    check_evidence(inputs, noise_of(calibration, summary.calibration_sha256))
    if summary.history != (previous.history_after if previous else ()):
        raise EpochRefused(
            "history", f"epoch {summary.epoch} does not start with the audit history before it"
        )
    if summary.refusals != (previous.refusals_after if previous else ()):
        raise EpochRefused("history", f"epoch {summary.epoch} does not start with the refusals before it")
    if summary.scoring != ScoringConfig():
        raise EpochRefused(
            "constants", f"epoch {summary.epoch} is scored with other constants: is this program up to date?"
        )
    check_coverage(inputs, summary.audits_outstanding, summary.scoring)
    check_rounds(inputs, summary.scoring)
    results = results_of(inputs, summary.scoring)
    if results.probes != summary.probes:
        raise EpochRefused("scores", f"what probes found in epoch {summary.epoch} does not follow")
    if results.scores != summary.scores:
        raise EpochRefused("scores", _difference("scores", summary.scores, results.scores))
    if results.weights != summary.weights:
        raise EpochRefused("weights", _difference("weights", summary.weights, results.weights))
    if results.history_after != summary.history_after:
        raise EpochRefused("history", f"the audit history after epoch {summary.epoch} does not follow")
    if results.refusals_after != summary.refusals_after:
        raise EpochRefused("history", f"the open refusals after epoch {summary.epoch} do not follow")
    if results.rounds_after != summary.rounds_after:
        raise EpochRefused("history", f"the rounds after epoch {summary.epoch} do not follow")


def _difference(what: str, stated: Sequence[object], computed: Sequence[object]) -> str:
    pairs = zip(stated, computed, strict=False)
    first = next((f"{one} is stated, {other} follows" for one, other in pairs if one != other), None)
    counts = f"{len(stated)} are stated, {len(computed)} follow"
    return f"the {what} do not follow from the evidence: {first or counts}"


Parsed = TypeVar("Parsed", bound=Message)


def _parse(cause: RefusalCause, kind: type[Parsed], data: bytes, name: str) -> Parsed:
    try:
        return parse_message(kind, data, name)
    except MalformedMessage as error:
        raise EpochRefused(cause, str(error)) from None


Line = TypeVar("Line", RequestFacts, Verdict, ProbeRound)


def _lines(reader: ObjectReader, summary: EpochSummary, key: str, kind: type[Line]) -> list[Line]:
    promised = next((file for file in summary.files if file.key == key), None)
    if promised is None:
        raise EpochRefused("file", f"epoch {summary.epoch} names no {key}")
    data = _get(reader, key)
    if sha256_hex(data) != promised.sha256:
        raise EpochRefused("file", f"{key} is not the file that the summary names")
    try:
        return parse_lines(kind, data, key)
    except MalformedMessage as error:
        raise EpochRefused("file", str(error)) from None


def _get(reader: ObjectReader, key: str) -> bytes:
    try:
        return reader.get(key)
    except ObjectMissing as error:
        raise EpochRefused("file", str(error)) from None
