"""Repeats a few audits of each new epoch before a watchtower follows it."""

import logging
import secrets
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

from shared.errors import ConfigError, ModelError
from shared.machine_facts import available_memory_bytes
from shared.model_identity import local_folder
from shared.object_store import ObjectReader
from shared.reference_memory import GIB, reference_bytes, stored_weight_bytes
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


def watchtower_reaudits(
    config: WatchtowerConfig,
    reader: ObjectReader,
    available: Callable[[], int | None] = available_memory_bytes,
) -> EpochReaudits | None:
    """What repeats audits, if a model is named and there is room for it; torch is imported only then.

    Which are repeated nobody can foresee: the seed is drawn here.

    Raises:
        ConfigError: model or calibration can't be had, or do not belong together.
    """
    if config.model is None or not _has_room(config.model, config.device, available()):
        return None
    from validator.reaudits import build_reaudits

    folder, seed = config.state_dir.expanduser(), secrets.randbits(53)
    reaudits = build_reaudits(config.model, config.device, config.calibration, folder, config.reaudits, seed)
    return EpochReaudits(reader, reaudits, folder)


def _has_room(model: str, device: str, available_bytes: int | None) -> bool:
    """Whether the model fits into this machine's memory; a GPU's is its own affair."""
    if device != "cpu" or available_bytes is None:
        return True
    try:
        needed = reference_bytes(stored_weight_bytes(local_folder(model)))
    except ModelError as error:
        raise ConfigError(str(error)) from None
    if needed <= available_bytes:
        return True
    log.warning(
        "no audits are repeated: the model takes %.1f GiB, %.1f GiB are available; give this machine or "
        "container more memory, or leave --model out",
        needed / GIB,
        available_bytes / GIB,
    )
    return False
