"""The uploader: puts epochs from the spool into the store, in a process of its own.

    python -m validator.upload --spool FOLDER --store s3://bucket/prefix

The audit validator starts it and ends it by closing its input. It goes on where it was, whatever happened.
"""

import logging
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from shared.config import at_least, exit_on_config_error, load, setting
from shared.errors import ConfigError, MalformedMessage, ObjectMissing, StoreError
from shared.logs import set_up_logs
from shared.object_store import ObjectStore, open_store

log = logging.getLogger(__name__)

DESCRIPTION = "Uploads sealed epochs from a spool folder to the store, oldest first, until its input closes."


@dataclass(frozen=True)
class UploadConfig:
    """What the uploader is told."""

    spool: Path | None = setting(None, "folder of the epochs that wait")
    store: str | None = setting(None, "where they go: a folder or s3://bucket/prefix")
    store_endpoint: str | None = setting(None, "URL of the S3-compatible service")
    store_region: str = setting("auto", "region of the S3-compatible service")
    look_seconds: float = setting(1.0, "seconds between looks into the spool", check=at_least(0.05))
    retry_seconds: float = setting(30.0, "seconds until a failed upload is tried again", check=at_least(0.05))


def upload_waiting(spool_folder: Path, store: ObjectStore) -> bool:
    """Upload the oldest epoch that waits; False when none does or it failed, which the spool then tells."""
    from validator.publishing import publish
    from validator.spool import Spool

    spool = Spool(spool_folder)
    waiting = spool.waiting()
    if not waiting:
        return False
    try:
        publish(store, waiting[0], spool.files(waiting[0]))
    except (StoreError, ObjectMissing, MalformedMessage) as error:
        log.error("epoch %d can't be published: %s", waiting[0], error)
        spool.tell(f"epoch {waiting[0]} can't be published: {error}; it is tried again")
        return False
    if spool.trouble():
        spool.tell("")
    spool.mark_published(waiting[0])
    log.info("epoch %d is in the store", waiting[0])
    return True


def run(config: UploadConfig, wait: Callable[[float], bool]) -> None:
    """Upload until `wait`, given seconds, says that it is time to stop.

    Raises:
        ConfigError: spool or store are not named.
    """
    if config.spool is None or config.store is None:
        raise ConfigError("name the spool with --spool FOLDER and the store with --store FOLDER or s3://…")
    store = open_store(config.store, config.store_endpoint, config.store_region)
    failed = False
    while not wait(config.retry_seconds if failed else 0):
        while upload_waiting(config.spool, store):
            if wait(0):
                return
        failed = _still_waits(config.spool)
        if not failed and wait(config.look_seconds):
            return


def _still_waits(spool_folder: Path) -> bool:
    from validator.spool import Spool

    return bool(Spool(spool_folder).trouble())


def main() -> int:
    """Read the flags and upload until standard input closes."""
    config = load(UploadConfig, DESCRIPTION, prog="python -m validator.upload")
    set_up_logs()
    stop = threading.Event()

    def await_end() -> None:
        sys.stdin.buffer.read()
        stop.set()

    threading.Thread(target=await_end, name="input", daemon=True).start()
    run(config, stop.wait)
    return 0


if __name__ == "__main__":
    exit_on_config_error(main)
