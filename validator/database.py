"""The auditor's small mutable state as SQL tables: SQLite by default, PostgreSQL by URL."""

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Float,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    Table,
    Text,
    delete,
    inspect,
    update,
)
from sqlalchemy.engine import Connection

from shared.database import Database as SqlDatabase
from shared.database import Migration, add_column
from shared.database import sqlite_url as sqlite_url

TABLES = MetaData()

cursors = Table(
    "cursors",
    TABLES,
    Column("source", Text, primary_key=True),
    Column("segment", BigInteger, nullable=False),
    Column("offset_bytes", BigInteger, nullable=False),
)

requests = Table(
    "requests",
    TABLES,
    Column("request_id", Text, primary_key=True),
    Column("miner_hotkey", Text, primary_key=True),
    Column("epoch", Integer, nullable=False),
    Column("finished_at_ms", BigInteger, nullable=False),
    Column("facts", Text, nullable=False),
    # The gateway's whole record, text included, only until the epoch is scored.
    Column("record", Text),
    Column("auditable", Boolean, nullable=False),
    Column("challenge_block", BigInteger),
    Column("challenge_block_hash", Text),
    Column("challenge_block_ms", BigInteger),
    Column("draw", Float(53)),
    # Who audits it: whoever holds the newest token, while the lease lasts (milliseconds of Unix time).
    Column("lease_token", BigInteger, nullable=False, server_default="0"),
    Column("lease_until_ms", BigInteger, nullable=False, server_default="0"),
    Index("requests_by_draw", "epoch", "draw"),
)

verdicts = Table(
    "verdicts",
    TABLES,
    Column("request_id", Text, primary_key=True),
    Column("miner_hotkey", Text, primary_key=True),
    Column("epoch", Integer, nullable=False, index=True),
    Column("outcome", Text, nullable=False),
    # What the audit adds to the sequential test; the body holds the same number.
    Column("log_e", Float(53), nullable=False),
    Column("body", Text, nullable=False),
    # What the miner was asked, and its signed answers.
    Column("exchange", Text),
    # The name of the auditor that made it, and when it was stored; neither is published.
    Column("auditor", Text),
    Column("stored_at_ms", BigInteger),
)

epochs = Table(
    "epochs",
    TABLES,
    Column("number", Integer, primary_key=True, autoincrement=False),
    Column("state", Text, nullable=False),
    Column("opened_at_ms", BigInteger, nullable=False),
    Column("ends_at_ms", BigInteger, nullable=False),
    Column("closed_at_ms", BigInteger),
    Column("summary", Text),
    Column("summary_digest", Text),
)

rounds = Table(
    "rounds",
    TABLES,
    Column("block", BigInteger, primary_key=True, autoincrement=False),
    Column("epoch", Integer, nullable=False, index=True),
    Column("body", Text, nullable=False),
    # Whether the epoch is scored: its rounds are then what its summary says.
    Column("final", Boolean, nullable=False),
)

weights = Table(
    "weights",
    TABLES,
    Column("epoch", Integer, primary_key=True, autoincrement=False),
    Column("entries", Text, nullable=False),
    Column("state", Text, nullable=False),
    Column("detail", Text, nullable=False),
    Column("sent_at_block", BigInteger),
)

followed = Table(
    "followed",
    TABLES,
    Column("publisher", Text, primary_key=True),
    Column("epoch", Integer, nullable=False),
    Column("summary", Text, nullable=False),
)

leases = Table(
    "leases",
    TABLES,
    Column("name", Text, primary_key=True),
    Column("holder", Text, nullable=False),
    # Rises with each change of hands; what is written under an older one is refused.
    Column("token", BigInteger, nullable=False),
    Column("expires_at_ms", BigInteger, nullable=False),
)

# Files of sealed epochs that the store lacks, where several auditors share the database.
sealed_files = Table(
    "sealed_files",
    TABLES,
    Column("epoch", Integer, primary_key=True, autoincrement=False),
    Column("key", Text, primary_key=True),
    Column("data", LargeBinary, nullable=False),
)

# What an auditor that is alone keeps in files of its state folder.
documents = Table(
    "documents",
    TABLES,
    Column("name", Text, primary_key=True),
    Column("body", Text, nullable=False),
)


def _create_first_tables(connection: Connection) -> None:
    TABLES.create_all(connection)


def _begin_anew_with_evidence(connection: Connection) -> None:
    """Version 1 had verdicts without e-values, from which nothing can go on: epochs begin anew."""
    if "log_e" not in {column["name"] for column in inspect(connection).get_columns("verdicts")}:
        for table in (verdicts, epochs, requests, weights, followed):
            table.drop(connection)
        TABLES.create_all(connection)


def _add_rounds(connection: Connection) -> None:
    rounds.create(connection, checkfirst=True)


def _begin_anew_with_families(connection: Connection) -> None:
    """Version 3 had verdicts without families, and summaries with neither those nor work in rounds, from
    which nothing can go on.

    Epochs keep their numbers, because what is published is never replaced; audits that were made in an epoch
    that is not scored yet are made again.
    """
    connection.execute(delete(verdicts))
    connection.execute(delete(followed))
    sealed = epochs.c.summary.is_not(None)
    connection.execute(
        update(epochs).where(sealed).values(state="published", summary=None, summary_digest=None)
    )


def _begin_anew_with_exchanges(connection: Connection) -> None:
    """Version 4 kept no answers to challenges, and its summaries named other files."""
    if "exchange" not in {column["name"] for column in inspect(connection).get_columns("verdicts")}:
        verdicts.drop(connection)
        verdicts.create(connection)
    _begin_anew_with_families(connection)


def _share_between_auditors(connection: Connection) -> None:
    """Version 5 had one auditor."""
    for column in (
        requests.c.lease_token,
        requests.c.lease_until_ms,
        verdicts.c.auditor,
        verdicts.c.stored_at_ms,
    ):
        add_column(connection, column)
    for table in (leases, sealed_files, documents):
        table.create(connection, checkfirst=True)


MIGRATIONS: tuple[Migration, ...] = (
    _create_first_tables,
    _begin_anew_with_evidence,
    _add_rounds,
    _begin_anew_with_families,
    _begin_anew_with_exchanges,
    _share_between_auditors,
)


class Database(SqlDatabase):
    """The auditor's database, opened and brought up to date."""

    def __init__(self, url: str) -> None:
        """Open `url`, an SQLAlchemy URL.

        Raises:
            ConfigError: it is not a database URL, can't be opened, or is of a newer version.
        """
        super().__init__(url, MIGRATIONS, "schema_version")
