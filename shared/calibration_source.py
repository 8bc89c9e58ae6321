"""A calibration file from a gateway, or from any other URL.

What is fetched is held against its digest, and kept on disk under it, so that it is fetched once. Whether it
is for the model at hand says `shared/model_check.py`, once that model's digest is known.
"""

import logging
import os
import re
import time
from contextlib import suppress
from pathlib import Path
from urllib.parse import urlsplit

from shared.bounded_download import Downloads, Monotonic
from shared.calibration_header import (
    MAX_FILE_BYTES,
    OFFER_PATH,
    CalibrationOffer,
    find_calibration,
    parse_header,
)
from shared.canonical import sha256_hex
from shared.errors import DownloadFailed, ModelError

log = logging.getLogger(__name__)

MAX_OFFER_BYTES = 1 << 14

DEADLINE_S = 300.0
"""For offer and file: the largest allowed takes so long at 0.9 MB/s. That of Qwen2.5-7B has about 1 MB."""

CACHE_FOLDER = "calibrations"

_GATEWAY_PATHS = ("", "/v1", OFFER_PATH)
_NAMED_BY_DIGEST = re.compile(r"/([0-9a-f]{64})$")


def is_url(location: str) -> bool:
    """Whether a calibration is named by URL, rather than by path."""
    return urlsplit(location).scheme in ("http", "https")


def obtain_calibration(
    named: str | None, model: str, state_folder: Path, clock: Monotonic = time.monotonic
) -> Path:
    """The calibration file to use: fetched, named by path, or the one in the model's folder. Blocks.

    Args:
        named: a path; the URL of a gateway, which says the digest of its file; or the URL of a file.
        model: a local folder or a hub name.
        state_folder: fetched files are kept in its folder `calibrations`.
        clock: seconds.

    Raises:
        ModelError: it can't be had, or is not what its digest says.
    """
    if named is None or not is_url(named):
        return find_calibration(model, named)
    folder = state_folder.expanduser() / CACHE_FOLDER
    try:
        with Downloads(DEADLINE_S, clock) as downloads:
            file = _fetch(downloads, named, folder)
    except DownloadFailed as error:
        raise ModelError(f"{error}; {_cure(folder)}") from None
    except OSError as error:
        raise ModelError(
            f"a fetched calibration file can't be kept in {folder}: {error.strerror}; make room there, "
            "or pass another --state-dir"
        ) from None
    log.info("calibration: fetched from %s", named)
    return file


def _fetch(downloads: Downloads, url: str, folder: Path) -> Path:
    if urlsplit(url).path.rstrip("/") in _GATEWAY_PATHS:
        return _from_gateway(downloads, url, folder)
    data = downloads.get(url, MAX_FILE_BYTES)
    named = _NAMED_BY_DIGEST.search(urlsplit(url).path)
    _check_file(data, named[1] if named else sha256_hex(data), url)
    return _keep(data, folder)


def _from_gateway(downloads: Downloads, url: str, folder: Path) -> Path:
    base = url.rstrip("/").removesuffix(OFFER_PATH).removesuffix("/v1")
    offer = _read_offer(downloads.get(base + OFFER_PATH, MAX_OFFER_BYTES), url)
    kept = _file_of(offer.sha256, folder)
    if _is_whole(kept, offer):
        return kept
    data = downloads.get(base + offer.path, offer.size_bytes)
    _check_file(data, offer.sha256, base + offer.path)
    return _keep(data, folder)


def _read_offer(data: bytes, url: str) -> CalibrationOffer:
    try:
        return CalibrationOffer.model_validate_json(data)
    except ValueError as error:
        words = " ".join(str(error).split())
        raise ModelError(f"{url} is no gateway that serves a calibration file: {words}") from None


def _check_file(data: bytes, digest: str, url: str) -> None:
    if sha256_hex(data) != digest:
        raise ModelError(
            f"what {url} serves is not the file of that digest: it was damaged or exchanged on its way; "
            "try again, or another gateway"
        )
    try:
        parse_header(data)
    except ModelError as error:
        raise ModelError(f"{url}: {error}") from None


def _file_of(digest: str, folder: Path) -> Path:
    return folder / f"{digest}.calibration"


def _is_whole(file: Path, offer: CalibrationOffer) -> bool:
    """Whether a kept file is the offered one; a damaged one is fetched again."""
    try:
        return file.stat().st_size == offer.size_bytes and sha256_hex(file.read_bytes()) == offer.sha256
    except OSError:
        return False


def _keep(data: bytes, folder: Path) -> Path:
    """Write a file under its digest, in one step."""
    file = _file_of(sha256_hex(data), folder)
    folder.mkdir(parents=True, exist_ok=True)
    partial = file.with_name(f"{file.name}.{os.getpid()}.partial")
    try:
        partial.write_bytes(data)
        partial.replace(file)
    except OSError:
        with suppress(OSError):
            partial.unlink()
        raise
    return file


def _cure(folder: Path) -> str:
    kept = sorted(folder.glob("*.calibration"), key=lambda file: file.stat().st_mtime)
    if not kept:
        return "check the address, or pass a file with --calibration FILE"
    return f"try again, or go on with what was fetched before: --calibration {kept[-1]}"
