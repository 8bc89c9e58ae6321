"""API keys of a gateway: `python -m gateway.keys create|list|revoke|usage`."""

import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from shared.config import at_least, exit_on_config_error, load, load_with_rest, setting
from shared.errors import ConfigError

if TYPE_CHECKING:
    from shared.database import Database

PROGRAM = "python -m gateway.keys"
USAGE = f"""usage: {PROGRAM} create|list|revoke|usage [flags]

  create   make a key; it is printed once and stored nowhere, only its digest
  list     show all keys: limits, state, and the first characters of each
  revoke   end a key: {PROGRAM} revoke key_…
  usage    show requests and tokens by day, client and model

A running gateway follows within seconds. --help after a command lists its flags."""

DAY_MS = 86_400_000


@dataclass(frozen=True)
class StoreFlags:
    """Where the keys are: the same flags as the gateway's."""

    state_dir: Path = setting(Path("~/.constantinople"), "the gateway's state folder")
    keys_database: str | None = setting(None, "the gateway's --keys-database, if it was given one")


@dataclass(frozen=True)
class CreateFlags(StoreFlags):
    """Flags of `create`."""

    name: str = setting("", "whose key it is, for your own lists")
    expires_days: float = setting(0.0, "days until it expires; 0: never", at_least(0))
    requests_per_minute: int = setting(0, "most requests a minute; 0: no limit", at_least(0))
    tokens_per_minute: int = setting(0, "most tokens a minute, prompt and output; 0: no limit", at_least(0))
    tokens_per_day: int = setting(0, "most tokens a day (UTC); 0: no limit", at_least(0))


@dataclass(frozen=True)
class UsageFlags(StoreFlags):
    """Flags of `usage`."""

    key: str = setting("", "only this key (key_…, or anonymous)")
    days: int = setting(30, "so many days, today included", at_least(1))


def create(argv: Sequence[str], now_ms: int) -> int:
    """Print a new key on standard output, and what is known of it on standard error."""
    flags = load(CreateFlags, "Make an API key.", argv, prog=f"{PROGRAM} create")
    from gateway.key_store import KeyStore, Limits, new_secret

    if not flags.name:
        raise ConfigError("say whose key it is: --name NAME")
    limits = Limits(
        flags.requests_per_minute or None, flags.tokens_per_minute or None, flags.tokens_per_day or None
    )
    expires_at_ms = now_ms + round(flags.expires_days * DAY_MS) if flags.expires_days else None
    secret = new_secret()
    with _opened(flags) as database:
        key = KeyStore(database).create(secret, flags.name, now_ms, limits, expires_at_ms)
    print(secret)
    print(f"{key.id} for {key.name}; the key is shown this once, only its digest is stored", file=sys.stderr)
    return 0


def show_all(argv: Sequence[str], now_ms: int) -> int:
    """Print all keys."""
    flags = load(StoreFlags, "Show all API keys.", argv, prog=f"{PROGRAM} list")
    from gateway.key_store import KeyStore

    with _opened(flags) as database:
        keys = KeyStore(database).all()
    head = ("id", "key", "name", "state", "created", "expires", "requests/min", "tokens/min", "tokens/day")
    _print_table(
        head,
        [
            (
                key.id,
                f"{key.hint}…",
                key.name,
                key.state(now_ms),
                _date(key.created_at_ms),
                _date(key.expires_at_ms),
                *("-" if limit is None else str(limit) for limit in vars(key.limits).values()),
            )
            for key in keys
        ],
    )
    return 0


def revoke(argv: Sequence[str], now_ms: int) -> int:
    """End a key."""
    flags, rest = load_with_rest(StoreFlags, "End an API key.", argv, prog=f"{PROGRAM} revoke")
    if len(rest) != 1:
        raise ConfigError(f"name one key: {PROGRAM} revoke key_…")
    from gateway.key_store import KeyStore

    with _opened(flags) as database:
        key = KeyStore(database).revoke(rest[0], now_ms)
    print(f"{key.id} ({key.name}) is revoked; gateways refuse it within seconds")
    return 0


def show_usage(argv: Sequence[str], now_ms: int) -> int:
    """Print what clients used, by day and model."""
    flags = load(UsageFlags, "Show what API keys used.", argv, prog=f"{PROGRAM} usage")
    from gateway.key_store import KeyStore
    from gateway.usage_store import UsageStore

    first = datetime.fromtimestamp(now_ms / 1000, UTC).date() - timedelta(days=flags.days - 1)
    with _opened(flags) as database:
        names = {key.account: key.name for key in KeyStore(database).all()}
        counts = UsageStore(database).since(first.isoformat(), flags.key or None)
    head = ("day", "client", "name", "model", "requests", "prompt tokens", "output tokens")
    _print_table(
        head,
        [
            (
                key.day,
                key.client,
                names.get(key.client, "-"),
                key.model,
                *(str(one) for one in vars(used).values()),
            )
            for key, used in counts.items()
        ],
    )
    return 0


COMMANDS: Mapping[str, Callable[[Sequence[str], int], int]] = {
    "create": create,
    "list": show_all,
    "revoke": revoke,
    "usage": show_usage,
}


@contextmanager
def _opened(flags: StoreFlags) -> "Iterator[Database]":
    from gateway.key_store import keys_url, open_key_database

    database = open_key_database(keys_url(flags.keys_database, flags.state_dir))
    try:
        yield database
    finally:
        database.close()


def _date(at_ms: int | None) -> str:
    return "-" if at_ms is None else datetime.fromtimestamp(at_ms / 1000, UTC).strftime("%Y-%m-%d %H:%M")


def _print_table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    widths = [max(map(len, column)) for column in zip(head, *rows, strict=True)]
    for row in (head, *rows):
        print("  ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)).rstrip())


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; gives its exit status.

    Raises:
        ConfigError: there is no such command, or what it is told is not allowed.
    """
    command, *rest = (sys.argv[1:] if argv is None else list(argv)) or [""]
    if command in ("-h", "--help"):
        print(USAGE)
        return 0
    run = COMMANDS.get(command)
    if run is None:
        what = f"there is no command {command!r}" if command else "no command is given"
        raise ConfigError(f"{what}; {PROGRAM} --help shows all")
    return run(rest, time.time_ns() // 1_000_000)


if __name__ == "__main__":
    exit_on_config_error(main)
