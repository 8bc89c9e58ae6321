"""Walks back over signed summaries, and says whether they are one chain by one publisher."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from shared.canonical import sha256_hex
from shared.errors import ConfigError, ObjectMissing, SignatureMismatch
from validator.epoch_evidence import EpochRefused
from validator.epoch_reading import parse
from validator.epoch_summary import (
    LATEST_KEY,
    EpochSummary,
    LatestEpoch,
    check_summary_signature,
    summary_key,
)
from validator.replay_config import ALL, LATEST
from validator.replay_downloads import Downloads
from validator.replay_report import CheckResult, fails, holds


@dataclass(frozen=True)
class Link:
    """One summary of the chain, without its contents, which stay on disk."""

    epoch: int
    sha256: str
    publisher: str
    records_root: str
    previous_digest: str | None
    closed_at_ms: int


@dataclass
class History:
    """The summaries that could be reached, newest first, and what is wrong with them.

    Attributes:
        wanted: the epochs to replay, of those that were reached, oldest first.
    """

    links: list[Link] = field(default_factory=list)
    pointer_faults: list[str] = field(default_factory=list)
    signature_faults: list[str] = field(default_factory=list)
    chain_faults: list[str] = field(default_factory=list)
    wanted: Sequence[int] = ()

    def link(self, epoch: int) -> Link | None:
        """The link of an epoch, if it was reached."""
        return next((one for one in self.links if one.epoch == epoch), None)

    @property
    def publisher(self) -> str:
        """Who signed the newest summary, by its own word."""
        return self.links[0].publisher if self.links else ""


class Walker:
    """Reads summaries from the newest one back."""

    def __init__(self, downloads: Downloads, publisher: str | None, netuid: int) -> None:
        self._downloads, self._publisher, self._netuid = downloads, publisher, netuid

    def walk(self, which: str) -> History:
        """The chain from the newest summary back, as far as the epochs to replay need it.

        Args:
            which: an epoch's number, `latest` or `all`.

        Raises:
            ConfigError: nothing is published, or no such epoch.
            StoreError: the store failed.
        """
        history = History()
        newest = self._newest(history)
        if newest is None:
            return history
        if which not in (LATEST, ALL) and int(which) > newest.epoch:
            raise ConfigError(f"there is no epoch {which} yet: the newest is {newest.epoch}")
        first = 1 if which == ALL else (newest.epoch if which == LATEST else int(which))
        self._walk_back(history, first - 1)
        reached = sorted(link.epoch for link in history.links)
        wanted = reached if which == ALL else [first]
        return replace(history, wanted=[epoch for epoch in wanted if epoch in reached])

    def _newest(self, history: History) -> Link | None:
        try:
            data = self._downloads.pointer(LATEST_KEY)
        except ObjectMissing as error:
            raise ConfigError(f"nothing is published there: {error}; check --from") from None
        try:
            pointer = parse("pointer", LatestEpoch, data, LATEST_KEY)
            summary = self._downloads.summary(pointer.epoch, None)
        except EpochRefused as refused:
            history.pointer_faults.append(str(refused))
            return None
        if sha256_hex(summary) != pointer.digest:
            words = f"{summary_key(pointer.epoch)} is not what {LATEST_KEY} points to"
            history.pointer_faults.append(words)
        return self._take(history, pointer.epoch, summary)

    def _walk_back(self, history: History, goal: int) -> None:
        """Take the summaries before the newest, down to number `goal` or the beginning."""
        link = history.links[-1]
        while link.previous_digest is not None and link.epoch > max(goal, 1):
            number = link.epoch - 1
            try:
                data = self._downloads.summary(number, link.previous_digest)
            except EpochRefused as refused:
                history.chain_faults.append(f"epoch {link.epoch} was built on epoch {number}, and {refused}")
                return
            before = self._take(history, number, data)
            if sha256_hex(data) != link.previous_digest:
                words = f"epoch {number} is not the one that epoch {link.epoch} was built on"
                history.chain_faults.append(words)
            if before is None:
                return
            if before.closed_at_ms > link.closed_at_ms:
                history.chain_faults.append(f"epoch {link.epoch} was closed before epoch {number}")
            link = before
        if link.previous_digest is not None and link.epoch == 1:
            history.chain_faults.append("epoch 1 names an epoch before it")

    def _take(self, history: History, number: int, data: bytes) -> Link | None:
        name = summary_key(number)
        try:
            summary = parse("format", EpochSummary, data, name)
        except EpochRefused as refused:
            history.chain_faults.append(str(refused))
            return None
        if fault := self._signature_fault(summary, history.publisher or summary.publisher):
            history.signature_faults.append(f"{name} {fault}")
        if summary.epoch != number:
            history.chain_faults.append(f"{name} holds epoch {summary.epoch}")
        link = Link(
            number,
            sha256_hex(data),
            summary.publisher,
            summary.records_root,
            summary.previous_digest,
            summary.closed_at_ms,
        )
        history.links.append(link)
        return link

    def _signature_fault(self, summary: EpochSummary, newest: str) -> str:
        try:
            check_summary_signature(summary)
        except SignatureMismatch as error:
            return f"is not signed: {error}"
        if summary.publisher != (self._publisher or newest):
            return f"is by {summary.publisher}, not by {self._publisher or newest}"
        return "" if summary.netuid == self._netuid else f"is of subnet {summary.netuid}, not {self._netuid}"


def history_results(history: History, named: str | None) -> list[CheckResult]:
    """Pointer, signature and hash chain, in words.

    Args:
        named: the publisher that was expected, if one was.
    """
    return [_pointer(history), _signature(history, named), _chain(history)]


def _pointer(history: History) -> CheckResult:
    if history.pointer_faults:
        return fails("pointer", history.pointer_faults[0])
    newest = history.links[0].epoch if history.links else None
    if newest is None:
        return fails("pointer", f"{LATEST_KEY} points to no readable summary")
    return holds("pointer", f"{LATEST_KEY} names epoch {newest} by its digest")


def _signature(history: History, named: str | None) -> CheckResult:
    if history.signature_faults:
        return fails("signature", _first(history.signature_faults))
    count = len(history.links)
    words = f"{count} {'summary is' if count == 1 else 'summaries are'} signed by {history.publisher}"
    if named is None:
        words += "; who that is was not checked: name it with --publisher, or the chain with --network"
    return holds("signature", words) if count else fails("signature", "there is no summary")


def _chain(history: History) -> CheckResult:
    if history.chain_faults:
        return fails("hash chain", _first(history.chain_faults))
    if not history.links:
        return fails("hash chain", "there is no summary")
    last, newest = history.links[-1], history.links[0]
    names = f"each of epochs {last.epoch + 1} to {newest.epoch} names the one before it by its digest"
    words = names if last.epoch < newest.epoch else f"epoch {newest.epoch} stands alone"
    if last.previous_digest is None:
        return holds("hash chain", f"{words}; epoch {last.epoch} is the first and names none")
    return holds("hash chain", f"{words}; what came before was not walked: --epoch all does")


def _first(faults: Sequence[str]) -> str:
    return faults[0] if len(faults) == 1 else f"{faults[0]}; and {len(faults) - 1} more"
