"""Publication as the auditor sees it: a child process uploads what is in the spool, and tells how it goes."""

import asyncio
import logging
import sys
from collections.abc import Sequence
from pathlib import Path

from shared.errors import StoreError
from validator.audit_config import AuditConfig
from validator.epoch_state import EpochState
from validator.request_state import RequestState
from validator.round_state import RoundState
from validator.spool import Spool
from validator.troubles import Troubles

log = logging.getLogger(__name__)

RESTART_PAUSE_S = 10.0
STOP_DEADLINE_S = 10.0
"""How long the uploader may take to end the upload of one object."""

_PROJECT = Path(__file__).resolve().parent.parent


def upload_command(config: AuditConfig) -> list[str]:
    """The command line of the uploader."""
    endpoint = ["--store-endpoint", config.store_endpoint] if config.store_endpoint else []
    return [
        *(sys.executable, "-m", "validator.upload", "--spool", str(config.spool_folder.resolve())),
        *("--store", config.store_location, "--store-region", config.store_region),
        *endpoint,
    ]


class Publication:
    """Keeps the uploader running, and forgets what it has published.

    Where auditors share a database, what waits is there, and the spool a copy of it for the uploader.
    """

    def __init__(
        self,
        spool: Spool,
        epochs: EpochState,
        requests: RequestState,
        rounds: RoundState,
        troubles: Troubles,
        command: Sequence[str],
        pause_s: float,
    ) -> None:
        self.spool = spool
        self._epochs, self._requests, self._rounds = epochs, requests, rounds
        self._troubles, self._command, self._pause_s = troubles, command, pause_s

    async def run(self) -> None:
        """Run for ever; the uploader ends with it, however it ends.

        Raises:
            LeaseLost: another auditor publishes by now.
        """
        await asyncio.to_thread(self._tidy)
        while True:
            uploader = await asyncio.create_subprocess_exec(
                *self._command, stdin=asyncio.subprocess.PIPE, cwd=_PROJECT
            )
            try:
                await self._watch(uploader)
            finally:
                await _end(uploader)
            words = f"the uploader ended with status {uploader.returncode}; its log says why"
            self._troubles.report("publication", f"{words}; starting it again in {RESTART_PAUSE_S:g} s")
            await asyncio.sleep(RESTART_PAUSE_S)

    def _tidy(self) -> None:
        """Let go of what another auditor has published while this one did not lead."""
        try:
            for number in self.spool.numbers():
                if self._epochs.is_published(number):
                    self.spool.drop(number)
        except StoreError as error:
            log.warning("the spool keeps published epochs: %s", error)

    async def _watch(self, uploader: asyncio.subprocess.Process) -> None:
        while uploader.returncode is None:
            trouble = await asyncio.to_thread(self._step_told)
            if trouble:
                self._troubles.report("publication", trouble)
            else:
                self._troubles.clear("publication")
            await asyncio.sleep(self._pause_s)

    def _step_told(self) -> str:
        try:
            self.step()
            return self.spool.trouble()
        except StoreError as error:
            return f"{error}; trying again"

    def step(self) -> None:
        """Hand over what is sealed, and let go of what the store has. Blocks.

        Raises:
            StoreError: the disk fails.
        """
        scored = self._epochs.oldest_unpublished()
        if scored is None:
            return
        number = scored.number
        if number in self.spool.published():
            self._epochs.mark_published(number)
            # The newest published epoch stays, so that a miner can read here how its audits ended.
            self._requests.forget(number - 1)
            self._rounds.forget(number - 1)
            self.spool.drop(number)
            log.info("epoch %d is published", number)
        elif number not in self.spool.waiting():
            self._hand_over(number, scored.data)

    def _hand_over(self, number: int, summary: bytes) -> None:
        """Ready only now is what was made final right before a crash, or is kept in a shared database."""
        if files := self._epochs.sealed_files(number):
            self.spool.write(number, files)
        if self.spool.has_files(number):
            self.spool.seal(number, summary)
            return
        self._troubles.report(
            "publication",
            f"epoch {number} is final, but its files are no longer in the spool of the state folder: "
            "restore them from a copy, or followers stop here",
        )


async def _end(uploader: asyncio.subprocess.Process) -> None:
    """Closing its input tells the uploader to stop after the object that it is at."""
    if uploader.returncode is not None:
        return
    if uploader.stdin is not None:
        uploader.stdin.close()
    try:
        async with asyncio.timeout(STOP_DEADLINE_S):
            await uploader.wait()
    except TimeoutError:
        uploader.kill()
        await uploader.wait()
