"""What the gateway remembers to answer for its receipts: where records are, and what epochs say of them.

All of it is derived, from the record log and from the published epochs: a file that is deleted is made again.
"""

from pathlib import Path

from sqlalchemy import BigInteger, Boolean, Column, Index, Integer, LargeBinary, MetaData, Table, Text
from sqlalchemy.engine import Connection

from shared.database import Database, Migration, sqlite_url
from shared.errors import ConfigError

RECEIPTS_FILE = "receipts.sqlite"
_OWNER_ONLY = 0o600
_TABLES = MetaData()

record_places = Table(
    "record_places",
    _TABLES,
    Column("request_id", Text, primary_key=True),
    # The id of the first attempt at the same client's request.
    Column("serves", Text, nullable=False),
    # Which of the gateway's logs: "" or the name of a worker's folder.
    Column("log", Text, nullable=False),
    Column("segment", Integer, nullable=False),
    Column("at_byte", BigInteger, nullable=False),
    Index("record_places_by_client_request", "serves"),
    Index("record_places_by_segment", "log", "segment"),
    sqlite_with_rowid=False,
)

log_cursor = Table(
    "log_cursor",
    _TABLES,
    Column("log", Text, primary_key=True),
    Column("segment", Integer, nullable=False),
    Column("at_byte", BigInteger, nullable=False),
)

epochs = Table(
    "epochs",
    _TABLES,
    Column("number", Integer, primary_key=True),
    Column("digest", Text, nullable=False),
    Column("publisher", Text, nullable=False),
    Column("opened_at_ms", BigInteger, nullable=False),
    Column("closed_at_ms", BigInteger, nullable=False),
    Column("records", Integer, nullable=False),
    Column("records_root", Text, nullable=False),
    # What is told of the epoch, and its files, as JSON.
    Column("told", Text, nullable=False),
    Column("files", Text, nullable=False),
    Column("manifest_sha256", Text, nullable=False),
    # The manifest itself, of the newest epoch only.
    Column("manifest", Text),
)

published_requests = Table(
    "published_requests",
    _TABLES,
    Column("request_id", Text, primary_key=True),
    Column("epoch", Integer, nullable=False),
    # Which leaf of the epoch's Merkle tree it is.
    Column("leaf_index", Integer, nullable=False),
    # What is published of it and the gateway's own record does not say.
    Column("known_prefix_tokens", Integer),
    Column("text_published", Boolean, nullable=False),
    # The audit as JSON; NULL of a request that was not audited.
    Column("audit", Text),
    Index("published_requests_by_epoch", "epoch"),
    sqlite_with_rowid=False,
)

leaf_chunks = Table(
    "leaf_chunks",
    _TABLES,
    Column("epoch", Integer, primary_key=True),
    # Which run of leaves; -1 for the roots of all runs.
    Column("chunk", Integer, primary_key=True),
    Column("hashes", LargeBinary, nullable=False),
)

miner_scores = Table(
    "miner_scores",
    _TABLES,
    Column("hotkey", Text, primary_key=True),
    Column("epoch", Integer, primary_key=True),
    Column("uid", Integer),
    # The score as it is told, and how many audits there were of each outcome, as JSON.
    Column("told", Text, nullable=False),
    Column("audits", Text, nullable=False),
    Index("miner_scores_by_epoch", "epoch"),
    sqlite_with_rowid=False,
)

miner_audits = Table(
    "miner_audits",
    _TABLES,
    Column("hotkey", Text, primary_key=True),
    Column("epoch", Integer, primary_key=True),
    # The order in which they are told: failed ones first.
    Column("place", Integer, primary_key=True),
    Column("told", Text, nullable=False),
    Index("miner_audits_by_epoch", "epoch"),
    sqlite_with_rowid=False,
)

standings = Table(
    "standings",
    _TABLES,
    Column("hotkey", Text, primary_key=True),
    Column("audits", Integer, nullable=False),
    Column("passes", Integer, nullable=False),
    Column("rejected", Boolean, nullable=False),
    Column("epoch", Integer, nullable=False),
)


def _create_tables(connection: Connection) -> None:
    _TABLES.create_all(connection)


def _read_epochs_anew(connection: Connection) -> None:
    """Epochs are Parquet tables now, and more is kept of them: what was read before is read again."""
    for table in (epochs, published_requests, standings):
        table.drop(connection, checkfirst=True)
    _TABLES.create_all(connection)


MIGRATIONS: tuple[Migration, ...] = (_create_tables, _read_epochs_anew)


def open_receipt_database(state_dir: Path) -> Database:
    """Open the file in the state folder, its owner's alone.

    Raises:
        ConfigError: it can't be made or opened.
    """
    file = state_dir.expanduser() / RECEIPTS_FILE
    try:
        url = sqlite_url(file)
        file.touch(_OWNER_ONLY)
    except OSError as error:
        raise ConfigError(f"{file} can't be made: {error}; choose another --state-dir") from None
    return Database(url, MIGRATIONS, "receipts_schema_version", "--state-dir")
