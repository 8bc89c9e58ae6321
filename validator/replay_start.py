"""Builds a replay from its settings, runs it, and prints the page."""

import json
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from shared.errors import ConfigError, ModelError, StoreError
from shared.object_store import open_reader
from validator.known_calibration import KnownCalibration, known_calibration
from validator.replay_chain import ChainView
from validator.replay_config import ReplayConfig, source_of
from validator.replay_downloads import Downloads
from validator.replay_page import as_json, page
from validator.replay_report import ReplayReport
from validator.replay_run import Reauditing, Replay


def run(config: ReplayConfig) -> int:
    """Replay and print; gives the exit status.

    Raises:
        ConfigError: source, chain, calibration or model can't be had.
    """
    try:
        report = _replay(config)
    except StoreError as error:
        again = "run it again" + (
            "" if config.keep else " with --keep FOLDER, and it goes on where it stopped"
        )
        raise ConfigError(f"{source_of(config)} can't be read: {error}; {again}") from None
    print(page(report))
    if config.json is not None:
        config.json.write_text(json.dumps(as_json(report), indent=1, ensure_ascii=False) + "\n")
    return 0 if report.sound else 1


def _replay(config: ReplayConfig) -> ReplayReport:
    reader = open_reader(source_of(config), config.store_endpoint, config.store_region)
    with _folder(config.keep) as folder, _reaudits(config, folder) as reaudits:
        replay = Replay(
            source_of(config),
            Downloads(reader, folder, _say),
            config.publisher,
            config.netuid,
            _calibration(config, folder),
            _chain(config),
            reaudits,
            _say,
        )
        return replay.run(config.epoch)


def _say(words: str) -> None:
    print(words, file=sys.stderr, flush=True)


@contextmanager
def _folder(keep: Path | None) -> Iterator[Path]:
    if keep is not None:
        keep = keep.expanduser()
        keep.mkdir(parents=True, exist_ok=True)
        yield keep
        return
    with tempfile.TemporaryDirectory(prefix="constantinople-replay-") as folder:
        yield Path(folder)


def _calibration(config: ReplayConfig, folder: Path) -> KnownCalibration | None:
    if config.calibration is None:
        return None
    try:
        return known_calibration(config.calibration, folder)
    except ModelError as error:
        raise ConfigError(str(error)) from None


def _chain(config: ReplayConfig) -> ChainView | None:
    if config.network is None:
        return None
    from shared.chain import SubtensorChain, check_network

    check_network(config.network)
    return SubtensorChain(config.network, config.netuid)


@contextmanager
def _reaudits(config: ReplayConfig, folder: Path) -> Iterator[Reauditing | None]:
    """What repeats audits; torch is imported only where a model is named."""
    if not config.reaudit:
        yield None
        return
    from validator.reaudits import open_reaudits

    with open_reaudits(config, folder) as reaudits:
        yield reaudits
