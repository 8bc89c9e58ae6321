"""One replay: the chain of summaries, then epoch after epoch, then what stands on chain."""

import asyncio
from dataclasses import dataclass
from typing import Protocol

from shared.canonical import sha256_hex
from shared.errors import ChainError
from validator.epoch_evidence import EpochRefused
from validator.epoch_summary import EpochSummary, parse_message, summary_key
from validator.known_calibration import KnownCalibration
from validator.replay_chain import (
    ChainFacts,
    ChainView,
    block_numbers,
    check_anchor,
    check_blocks,
    check_chain_weights,
    check_publisher,
    read_facts,
)
from validator.replay_checks import OF_FILES, check_epoch
from validator.replay_downloads import Downloads, Say
from validator.replay_epoch import LoadedEpoch, load_epoch
from validator.replay_files import download_epoch, files_words
from validator.replay_history import History, Walker, history_results
from validator.replay_report import CheckResult, ReplayReport, checked, fails, holds, unchecked

NO_NETWORK = "no chain was named: --network finney, or a node's address"


class Reauditing(Protocol):
    """Repeats audits of an epoch with the model."""

    def repeat(self, epoch: LoadedEpoch) -> tuple[CheckResult, list[tuple[int, str, str]]]:
        """What came of it, and which audits were repeated: (epoch, request id, miner's hotkey)."""
        ...


@dataclass(frozen=True)
class Replay:
    """What a replay is made with. `chain` is None without a network, `reaudits` None without a model."""

    source: str
    downloads: Downloads
    publisher: str | None
    netuid: int
    calibration: KnownCalibration | None
    chain: ChainView | None
    reaudits: Reauditing | None
    say: Say

    def run(self, which: str) -> ReplayReport:
        """Replay the epochs that `which` names: a number, `latest` or `all`. Blocks.

        Raises:
            ConfigError: nothing is published, or no such epoch.
            StoreError: the source can't be read.
        """
        with asyncio.Runner() as runner:
            try:
                return _Run(self, runner).run(which)
            finally:
                if self.chain is not None:
                    runner.run(self.chain.close())


class _Run:
    """One replay under way; what the chain is asked runs in one loop."""

    def __init__(self, replay: Replay, runner: asyncio.Runner) -> None:
        self._replay, self._runner = replay, runner
        self._facts: ChainFacts | None = None
        self._chain_trouble = ""

    def run(self, which: str) -> ReplayReport:
        replay = self._replay
        history = Walker(replay.downloads, replay.publisher, replay.netuid).walk(which)
        self._read_chain()
        report = ReplayReport(replay.source, history.publisher, list(history.wanted))
        report.results += self._of_history(history)
        for number in history.wanted:
            self._epoch(number, history, report)
        report.results += self._of_chain(history)
        return report

    def _of_history(self, history: History) -> list[CheckResult]:
        named = self._replay.publisher or (history.publisher if self._facts else None)
        if self._facts and history.publisher:
            history.signature_faults += check_publisher(history.publisher, self._facts)
        return history_results(history, named)

    def _read_chain(self) -> None:
        if self._replay.chain is None:
            self._chain_trouble = NO_NETWORK
            return
        self._replay.say("reading the chain")
        try:
            self._facts = self._runner.run(read_facts(self._replay.chain))
        except ChainError as error:
            self._chain_trouble = str(error)

    def _summary(self, number: int, history: History) -> EpochSummary | None:
        """The summary as it was walked over, read again."""
        link = history.link(number)
        if link is None:
            return None
        data = self._replay.downloads.summary(number, link.sha256)
        if sha256_hex(data) != link.sha256:
            raise EpochRefused("rewritten", f"{summary_key(number)} was changed while it was being replayed")
        return parse_message(EpochSummary, data, summary_key(number))

    def _epoch(self, number: int, history: History, report: ReplayReport) -> None:
        say = self._replay.say
        try:
            summary, previous = self._summary(number, history), self._summary(number - 1, history)
            assert summary is not None, "only epochs that were reached are wanted"
            say(f"epoch {number}: loading {len(summary.files)} files")
            files = download_epoch(self._replay.downloads, summary)
            say(f"epoch {number}: reading {summary.records} records")
            epoch = load_epoch(summary, previous, files)
        except EpochRefused as refused:
            report.results.append(fails("files", str(refused), number))
            words = "the epoch's files are not what its summary names"
            report.results += [unchecked(name, words, number) for name in (*OF_FILES, "blocks")]
            return
        report.results.append(holds("files", files_words(summary), number))
        say(f"epoch {number}: computing everything again")
        report.results += check_epoch(epoch, self._replay.calibration)
        report.results.append(self._blocks(epoch))
        if self._replay.reaudits is not None:
            say(f"epoch {number}: repeating audits")
            result, repeated = self._replay.reaudits.repeat(epoch)
            report.results.append(result)
            report.repeated += repeated

    def _blocks(self, epoch: LoadedEpoch) -> CheckResult:
        chain = self._replay.chain
        if chain is None or self._facts is None:
            return unchecked("blocks", self._chain_trouble, epoch.number)
        try:
            found = self._runner.run(chain.blocks(block_numbers(epoch.summary)))
        except ChainError as error:
            return unchecked("blocks", str(error), epoch.number)
        return checked("blocks", epoch.number, lambda: check_blocks(epoch, found))

    def _of_chain(self, history: History) -> list[CheckResult]:
        facts = self._facts
        if facts is None or not history.links:
            words = self._chain_trouble or "there is no summary to hold against the chain"
            return [unchecked("anchor", words), unchecked("chain weights", words)]
        newest = history.links[0].epoch
        recent = [self._summary(number, history) for number in (newest, newest - 1)]
        known = [one for one in recent if one is not None]
        return [check_anchor(history, facts), check_chain_weights(history.publisher, known, facts)]
