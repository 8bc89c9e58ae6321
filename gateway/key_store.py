"""API keys in the gateway's database: their digests, limits and ends; the keys themselves are kept nowhere.

A key is 256 random bits, so SHA-256 of it is enough: there is nothing to guess that a slow hash would
protect, as there is with passwords, and a fast one costs a request a microsecond.
"""

import hashlib
import secrets
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import BigInteger, Column, Index, MetaData, Table, Text, func, insert, select, update
from sqlalchemy.engine import Connection, Row

from shared.database import Database, Migration, add_column, sqlite_url
from shared.errors import ConfigError

KEY_PREFIX = "cst_"
"""What every key begins with, so that one that leaks into a repository or a log can be searched for."""

KEY_BYTES = 32
HINT_CHARS = 8
"""Characters of a key that are kept in clear, its prefix included: enough to tell one's keys apart."""

KEYS_FILE = "keys.sqlite"
VERSION_TABLE = "gateway_schema_version"
_OWNER_ONLY = 0o600

_TABLES = MetaData()

api_keys = Table(
    "api_keys",
    _TABLES,
    Column("id", Text, primary_key=True),
    Column("digest", Text, nullable=False, unique=True),
    Column("hint", Text, nullable=False),
    Column("name", Text, nullable=False),
    Column("created_at_ms", BigInteger, nullable=False),
    Column("expires_at_ms", BigInteger),
    Column("revoked_at_ms", BigInteger),
    Column("requests_per_minute", BigInteger),
    Column("tokens_per_minute", BigInteger),
    Column("tokens_per_day", BigInteger),
    # The hotkey that signed in for it: all keys of one hotkey share its limits.
    Column("owner", Text),
)

gateway_secrets = Table(
    "gateway_secrets",
    _TABLES,
    Column("name", Text, primary_key=True),
    Column("value", Text, nullable=False),
)

used_challenges = Table(
    "used_challenges",
    _TABLES,
    Column("nonce", Text, primary_key=True),
    Column("expires_at_ms", BigInteger, nullable=False),
)

usage = Table(
    "usage",
    _TABLES,
    Column("day", Text, primary_key=True),
    # A key's id, or "anonymous" for everybody without one: whose address it was is kept nowhere.
    Column("client", Text, primary_key=True),
    Column("model", Text, primary_key=True),
    Column("requests", BigInteger, nullable=False),
    Column("prompt_tokens", BigInteger, nullable=False),
    Column("output_tokens", BigInteger, nullable=False),
    Index("usage_by_client", "client", "day"),
)


def _create_tables(connection: Connection) -> None:
    _TABLES.create_all(connection)


def _add_wallets(connection: Connection) -> None:
    _TABLES.create_all(connection)
    add_column(connection, api_keys.c.owner)


MIGRATIONS: tuple[Migration, ...] = (_create_tables, _add_wallets)


def keys_url(database: str | None, state_dir: Path) -> str:
    """The URL of the database of keys: the given one, or a file in the state folder, its owner's alone.

    Raises:
        ConfigError: the file can't be made.
    """
    if database:
        return database
    file = state_dir.expanduser() / KEYS_FILE
    try:
        url = sqlite_url(file)
        file.touch(_OWNER_ONLY)
    except OSError as error:
        raise ConfigError(f"{file} can't be made: {error}; choose another --state-dir") from None
    return url


def open_key_database(url: str) -> Database:
    """Open the database of keys and usage.

    Raises:
        ConfigError: it can't be opened, or is of a newer version.
    """
    return Database(url, MIGRATIONS, VERSION_TABLE, "--keys-database")


@dataclass(frozen=True)
class Limits:
    """What a client may take; None: as much as it likes."""

    requests_per_minute: int | None = None
    tokens_per_minute: int | None = None
    tokens_per_day: int | None = None


UNLIMITED = Limits()


@dataclass(frozen=True)
class ApiKey:
    """A key without its secret. Times are milliseconds of Unix time."""

    id: str
    digest: str
    hint: str
    name: str
    created_at_ms: int
    expires_at_ms: int | None
    revoked_at_ms: int | None
    limits: Limits
    owner: str | None = None
    """The hotkey that signed in for it; None for a key that an operator made."""

    @property
    def account(self) -> str:
        """Under which its use is limited and counted: the same for all keys of one hotkey."""
        return self.owner or self.id

    def state(self, now_ms: int) -> str:
        """`valid`, `revoked` or `expired`."""
        if self.revoked_at_ms is not None:
            return "revoked"
        return "expired" if self.expires_at_ms is not None and now_ms >= self.expires_at_ms else "valid"


def digest_of(secret: str) -> str:
    """What is stored of a key: SHA-256 in hexadecimal."""
    return hashlib.sha256(secret.encode()).hexdigest()


def new_secret() -> str:
    """A fresh key: the prefix and 43 characters of `A-Za-z0-9_-`."""
    return KEY_PREFIX + secrets.token_urlsafe(KEY_BYTES)


class KeyStore:
    """The keys. Every method is one transaction and blocks."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def create(
        self,
        secret: str,
        name: str,
        now_ms: int,
        limits: Limits = UNLIMITED,
        expires_at_ms: int | None = None,
    ) -> ApiKey:
        """Store a key."""
        with self._database.writing() as connection:
            return self.add(connection, secret, name, now_ms, limits, expires_at_ms)

    def add(
        self,
        connection: Connection,
        secret: str,
        name: str,
        now_ms: int,
        limits: Limits,
        expires_at_ms: int | None,
        owner: str | None = None,
    ) -> ApiKey:
        """Store a key as part of a transaction."""
        key = ApiKey(
            id="key_" + secrets.token_hex(8),
            digest=digest_of(secret),
            hint=secret[:HINT_CHARS],
            name=name,
            created_at_ms=now_ms,
            expires_at_ms=expires_at_ms,
            revoked_at_ms=None,
            limits=limits,
            owner=owner,
        )
        values = {column: value for column, value in vars(key).items() if column != "limits"} | vars(limits)
        connection.execute(insert(api_keys).values(**values))
        return key

    def revoke(self, key_id: str, now_ms: int) -> ApiKey:
        """End a key now; one that was revoked before stays so.

        Raises:
            ConfigError: there is no such key.
        """
        mine = api_keys.c.id == key_id
        with self._database.writing() as connection:
            connection.execute(
                update(api_keys).where(mine, api_keys.c.revoked_at_ms.is_(None)).values(revoked_at_ms=now_ms)
            )
            row = connection.execute(select(api_keys).where(mine)).first()
        if row is None:
            raise ConfigError(f"there is no key {key_id!r}; python -m gateway.keys list shows all")
        return _key(row)

    def all(self) -> list[ApiKey]:
        """Every key that there ever was, oldest first."""
        with self._database.reading() as connection:
            rows = connection.execute(select(api_keys).order_by(api_keys.c.created_at_ms, api_keys.c.id))
            return [_key(row) for row in rows]

    def stamp(self) -> tuple[int, int]:
        """A value that is another one after any key was created or revoked: how many there are of both."""
        counts = select(func.count(api_keys.c.id), func.count(api_keys.c.revoked_at_ms))
        with self._database.reading() as connection:
            created, revoked = connection.execute(counts).one()
        return created, revoked


def _key(row: Row[tuple[object, ...]]) -> ApiKey:
    fields = row._asdict()
    limits = Limits(**{name: fields.pop(name) for name in Limits.__dataclass_fields__})
    return ApiKey(**fields, limits=limits)
