"""Repeats a few audits of each new epoch before a watchtower follows it."""

import logging
import secrets
from pathlib import Path
from tempfile import TemporaryDirectory

from shared.object_store import ObjectReader
from validator.epoch_evidence import EpochRefused
from validator.epoch_summary import EpochSummary
from validator.replay_downloads import Downloads
from validator.replay_epoch import load_epoch
from validator.replay_files import download_epoch
from validator.replay_run import Reauditing
from validator.watchtower_config import WatchtowerConfig

log = logging.getLogger(__name__)


class EpochReaudits:
    """The last of a watchtower's checks; what came of the newest epoch is remembered. Blocks."""

    def __init__(self, reader: ObjectReader, reaudits: Reauditing, folder: Path) -> None:
        self._reader, self._reaudits, self._folder = reader, reaudits, folder
        self._known: tuple[str | None, EpochRefused | None] = (None, None)

    def check(self, summary: EpochSummary) -> None:
        """Repeat some of an epoch's audits.

        Raises:
            EpochRefused: the model does not support one of its verdicts.
            StoreError: the source can't be read.
        """
        signature, refused = self._known
        if signature != summary.signature:
            refused = self._repeat(summary)
            self._known = summary.signature, refused
        if refused is not None:
            raise refused

    def _repeat(self, summary: EpochSummary) -> EpochRefused | None:
        self._folder.mkdir(parents=True, exist_ok=True)
        with TemporaryDirectory(prefix="re-audit-", dir=self._folder) as folder:
            files = download_epoch(Downloads(self._reader, Path(folder), log.debug), summary)
            result, _ = self._reaudits.repeat(load_epoch(summary, None, files))
        if result.state == "fails":
            return EpochRefused("re-audit", result.words)
        log.info("epoch %d: %s", summary.epoch, result.words)
        return None


def watchtower_reaudits(config: WatchtowerConfig, reader: ObjectReader) -> EpochReaudits | None:
    """What repeats audits, if a model is named; torch is imported only then.

    Which are repeated nobody can foresee: the seed is drawn here.

    Raises:
        ConfigError: model or calibration can't be had, or do not belong together.
    """
    if config.model is None:
        return None
    from validator.reaudits import build_reaudits

    folder, seed = config.state_dir.expanduser(), secrets.randbits(53)
    reaudits = build_reaudits(config.model, config.device, config.calibration, folder, config.reaudits, seed)
    return EpochReaudits(reader, reaudits, folder)
