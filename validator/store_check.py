"""Looks at a store as a publisher uses it and as followers read it, and says what is wrong in words."""

import os
import secrets
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from urllib.parse import urlsplit

import httpx

from shared.diagnosis import Finding, bad
from shared.errors import ConfigError
from shared.object_store import FolderStore, S3Store, open_store
from validator.publish_config import StoreCheckConfig
from validator.store_check_credentials import check_credentials
from validator.store_check_endpoint import Clock, check_endpoint
from validator.store_check_folder import check_folder, explain_folder
from validator.store_check_objects import ErasableStore, Explain, ObjectChecks, Probe
from validator.store_check_public import Replace, check_public
from validator.store_explanations import Place, explain

PROBE_BYTES = 1024

PAUSE_S = 1.1
"""R2 takes one write a second of one object."""

_NEEDED = ("address", "name", "connection", "credentials")
"""Without these no request comes to anything."""


@dataclass(frozen=True)
class Around:
    """What a look depends on besides the store: clock (Unix seconds), environment, random bytes, waiting."""

    clock: Clock = time.time
    environ: Mapping[str, str] = field(default_factory=lambda: os.environ)
    random: Callable[[int], bytes] = secrets.token_bytes
    sleep: Callable[[float], None] = time.sleep


def check_store(config: StoreCheckConfig, around: Around | None = None) -> Iterator[Finding]:
    """Everything there is to say of a store, as it is found. Blocks; leaves at most probes below `checks/`.

    Raises:
        ConfigError: it is not the location of a store.
    """
    around = around or Around()
    store = open_store(str(config.store), config.store_endpoint, config.store_region)
    if isinstance(store, S3Store):
        yield from _check_bucket(config, store, around)
    elif isinstance(store, FolderStore):
        yield from _check_folder(config, store, around)
    else:
        raise ConfigError(f"{config.store} is no store that this command knows")


def _check_bucket(config: StoreCheckConfig, store: S3Store, around: Around) -> Iterator[Finding]:
    parts = urlsplit(str(config.store))
    place = Place(parts.netloc, store.service_url, config.store_region)
    credentials = check_credentials(around.environ)
    found = [*check_endpoint(place, around.clock), credentials]
    yield from found
    if any(one.grade == "bad" and one.subject in _NEEDED for one in found):
        return
    explained = partial(explain, place=place)
    prefix = parts.path.strip("/")
    prefix = prefix + "/" if prefix else ""
    yield from _check_objects(config, store, around, explained, prefix)


def _check_folder(config: StoreCheckConfig, store: FolderStore, around: Around) -> Iterator[Finding]:
    for found in check_folder(Path(urlsplit(str(config.store)).path).expanduser()):
        yield found
        if found.grade == "bad":
            return
    yield from _check_objects(config, store, around, explain_folder, "")


def _check_objects(
    config: StoreCheckConfig, store: ErasableStore, around: Around, explained: Explain, prefix: str
) -> Iterator[Finding]:
    random = around.random
    probe = Probe(f"checks/{random(8).hex()}", random(PROBE_BYTES), random(PROBE_BYTES))
    limited = isinstance(store, S3Store)
    checks = ObjectChecks(store, probe, explained, lambda: around.sleep(PAUSE_S) if limited else None)
    listed = list(checks.reading_what_is_missing())
    yield from listed
    if len(listed) < 2:
        return
    try:
        yield from checks.creating()
        if not checks.written:
            return
        yield from checks.reading()
        yield from checks.replacing()
        if config.large:
            yield from checks.storing_much()
        if config.public_url:
            yield from _public(config.public_url, prefix, probe, checks.replace_pointer)
    finally:
        yield from checks.removing(by_key=limited)


def _public(url: str, prefix: str, probe: Probe, replace: Replace) -> Iterator[Finding]:
    try:
        yield from check_public(url, prefix, probe, replace)
    except httpx.HTTPError as error:
        words = f"{url} stopped answering: {str(error) or type(error).__name__}"
        yield bad("public", words, "try again in some minutes")
