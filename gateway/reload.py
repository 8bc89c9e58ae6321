"""What a running gateway takes over when its settings are read again, at SIGHUP."""

import dataclasses
import logging
from collections.abc import Callable, Sequence

from gateway.config import GatewayConfig
from shared.errors import ConfigError

log = logging.getLogger(__name__)

RELOADED = frozenset(
    {
        "miners",
        "anonymous",
        "anonymous_requests_per_minute",
        "anonymous_tokens_per_minute",
        "log_level",
    }
)
"""What changes without a restart. Keys need no signal, nor does the file of --miners-file."""


class Settings:
    """The settings as they are now.

    Attributes:
        now: those that hold.
        errors: how often they could not be read again.
    """

    def __init__(self, config: GatewayConfig, read: Callable[[], GatewayConfig]) -> None:
        self.now, self._read = config, read
        self.errors = 0
        self._followers: list[Callable[[GatewayConfig], None]] = []

    def follow(self, take: Callable[[GatewayConfig], None]) -> None:
        """Have `take` called with new settings."""
        self._followers.append(take)

    def reload(self) -> None:
        """Read them again; with any mistake in them, all of the old ones stay."""
        try:
            read = self._read()
        except (ConfigError, OSError) as error:
            self.errors += 1
            log.error("the settings were not read again, and stay as they are: %s", error)
            return
        changed = changes(self.now, read)
        late = [name for name in changed if name not in RELOADED]
        if late:
            log.warning("%s changed, which needs a restart", _flags(late))
        taken = {name: getattr(read, name) for name in changed if name in RELOADED}
        self.now = dataclasses.replace(self.now, **taken)
        log.info("the settings were read again; changed: %s", _flags(list(taken)) or "nothing")
        for take in self._followers:
            take(self.now)


def changes(old: GatewayConfig, new: GatewayConfig) -> Sequence[str]:
    """Names of the settings that differ."""
    names = [field.name for field in dataclasses.fields(GatewayConfig)]
    return [name for name in names if getattr(old, name) != getattr(new, name)]


def _flags(names: Sequence[str]) -> str:
    return ", ".join("--" + name.replace("_", "-") for name in names)
