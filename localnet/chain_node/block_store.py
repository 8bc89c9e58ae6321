"""Blocks, state and recent history on disk: an SQLite file, one transaction a block.

A process that dies at any moment leaves the chain as it was after some whole block.
"""

import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Self

from localnet.chain_node.blocks import Block
from localnet.chain_node.scale_encoding import Reader, option, sized, vector
from localnet.chain_node.state import Changes

FILE_NAME = "chain.sqlite3"

_TEMPORARY_DATABASE = ""
"""SQLite's name for a database on disk that vanishes when it is closed."""

_SCHEMA = """
CREATE TABLE IF NOT EXISTS facts (name TEXT PRIMARY KEY, value BLOB NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS state (key BLOB PRIMARY KEY, value BLOB NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS undo (number INTEGER PRIMARY KEY, changes BLOB NOT NULL);
CREATE TABLE IF NOT EXISTS blocks (
    number INTEGER PRIMARY KEY, hash BLOB NOT NULL UNIQUE, parent_hash BLOB NOT NULL,
    state_root BLOB NOT NULL, seal BLOB NOT NULL, extrinsics BLOB NOT NULL, timestamp_ms INTEGER NOT NULL
);
"""
_BLOCK_COLUMNS = "number, parent_hash, state_root, seal, extrinsics, timestamp_ms"
_BlockRow = tuple[int, bytes, bytes, bytes, bytes, int]


class StateDirectoryError(Exception):
    """The state directory cannot be used; the message says why and what to do."""


class BlockStore:
    """Owns the database; a second process cannot open it at the same time."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    @classmethod
    def open(cls, directory: Path | None) -> Self:
        """Opens or creates the store; without a directory it is gone when the process ends.

        Raises:
            StateDirectoryError: the directory cannot be written, or another node uses it.
        """
        try:
            if directory is not None:
                directory.mkdir(parents=True, exist_ok=True)
            name = _TEMPORARY_DATABASE if directory is None else str(directory / FILE_NAME)
            connection = sqlite3.connect(name, isolation_level=None, timeout=0)
            connection.execute("PRAGMA locking_mode = EXCLUSIVE")
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute("PRAGMA synchronous = NORMAL")
            connection.executescript(_SCHEMA)
        except sqlite3.OperationalError as error:
            raise StateDirectoryError(
                f"cannot use the state directory {directory}: {error}; is another node running on it?"
            ) from error
        except (sqlite3.DatabaseError, OSError) as error:
            raise StateDirectoryError(f"cannot use the state directory {directory}: {error}") from error
        return cls(connection)

    def close(self) -> None:
        self._connection.close()

    def fact(self, name: str) -> bytes | None:
        """Something that was recorded about the chain when it began."""
        row = self._connection.execute("SELECT value FROM facts WHERE name = ?", (name,)).fetchone()
        return None if row is None else bytes(row[0])

    def begin(self, facts: Mapping[str, bytes], genesis: Block, changes: Changes) -> None:
        """Records a new chain."""
        with self._transaction():
            self._connection.executemany("INSERT INTO facts VALUES (?, ?)", facts.items())
            self._insert(genesis, changes)

    def append(self, block: Block, changes: Changes, undo: Changes, oldest_undo: int) -> None:
        """Records a block, what it changed and how to take that back; forgets undo data older than given."""
        with self._transaction():
            self._insert(block, changes)
            self._connection.execute("INSERT INTO undo VALUES (?, ?)", (block.number, encode_changes(undo)))
            self._connection.execute("DELETE FROM undo WHERE number < ?", (oldest_undo,))

    def state(self) -> dict[bytes, bytes]:
        """The state after the newest block."""
        return {bytes(key): bytes(value) for key, value in self._connection.execute("SELECT * FROM state")}

    def undo_changes(self) -> dict[int, Changes]:
        """How to take each recent block back, by number."""
        rows = self._connection.execute("SELECT number, changes FROM undo ORDER BY number")
        return {number: _decode_changes(changes) for number, changes in rows}

    def newest(self) -> Block | None:
        return self._block("ORDER BY number DESC LIMIT 1", ())

    def block(self, block_hash: bytes) -> Block | None:
        return self._block("WHERE hash = ?", (block_hash,))

    def hash_at(self, number: int) -> bytes | None:
        """The hash of the block at a height, or None where there is none."""
        row = self._connection.execute("SELECT hash FROM blocks WHERE number = ?", (number,)).fetchone()
        return None if row is None else bytes(row[0])

    def _block(self, condition: str, parameters: tuple[bytes, ...]) -> Block | None:
        query = f"SELECT {_BLOCK_COLUMNS} FROM blocks {condition}"
        row: _BlockRow | None = self._connection.execute(query, parameters).fetchone()
        if row is None:
            return None
        number, parent_hash, state_root, seal, extrinsics, timestamp_ms = row
        return Block(number, parent_hash, state_root, seal, _decode_extrinsics(extrinsics), timestamp_ms)

    def _insert(self, block: Block, changes: Changes) -> None:
        extrinsics = vector(sized(extrinsic) for extrinsic in block.extrinsics)
        self._connection.execute(
            f"INSERT INTO blocks (hash, {_BLOCK_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?)",
            (
                block.hash,
                block.number,
                block.parent_hash,
                block.state_root,
                block.seal,
                extrinsics,
                block.timestamp_ms,
            ),
        )
        written = [(key, value) for key, value in changes.items() if value is not None]
        removed = [(key,) for key, value in changes.items() if value is None]
        self._connection.executemany("INSERT OR REPLACE INTO state VALUES (?, ?)", written)
        self._connection.executemany("DELETE FROM state WHERE key = ?", removed)

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        self._connection.execute("BEGIN IMMEDIATE")
        try:
            yield
        except BaseException:
            self._connection.execute("ROLLBACK")
            raise
        self._connection.execute("COMMIT")


def encode_changes(changes: Changes) -> bytes:
    """Changes as bytes, in the order given."""
    return vector(
        sized(key) + option(None if value is None else sized(value)) for key, value in changes.items()
    )


def _decode_changes(encoded: bytes) -> Changes:
    reader = Reader(encoded)
    return {reader.sized(): reader.sized() if reader.byte() else None for _ in range(reader.compact())}


def _decode_extrinsics(encoded: bytes) -> tuple[bytes, ...]:
    reader = Reader(encoded)
    return tuple(reader.sized() for _ in range(reader.compact()))
