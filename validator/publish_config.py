"""Settings of `python -m validator.publish check`, which are the audit validator's where it has them too."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from shared.config import load, setting
from shared.errors import ConfigError

PROGRAM = "python -m validator.publish"


@dataclass(frozen=True)
class StoreCheckConfig:
    """The store to look at, and how far."""

    store: str | None = setting(None, "where epochs are published: a folder or s3://bucket/prefix")
    store_endpoint: str | None = setting(None, "URL of the S3-compatible service")
    store_region: str = setting("auto", "region of the S3-compatible service")
    public_url: str | None = setting(None, "the address at which followers read it, to be checked too")
    large: bool = setting(False, "write and read an object of 8 MiB too")
    json: bool = setting(False, "print one JSON document instead of lines")


def load_check_config(
    argv: Sequence[str], environ: Mapping[str, str] | None = None, dotenv: Path | None = None
) -> StoreCheckConfig:
    """The settings of one check.

    Raises:
        ConfigError: a value is not allowed, or no store is named.
    """
    description = (
        "Says what works and what doesn't with a store of published epochs, and what to do about it."
    )
    config = load(StoreCheckConfig, description, argv, environ, dotenv, prog=f"{PROGRAM} check")
    if not config.store:
        raise ConfigError("name the store with --store: a folder, or s3://bucket/prefix")
    if config.public_url and not config.public_url.startswith(("http://", "https://")):
        raise ConfigError(f"--public-url is {config.public_url!r}: it must begin with https://")
    return config
