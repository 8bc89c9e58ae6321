"""What the auditor remembers of rounds: the key of their secrets, and rounds until they are published."""

import os
import secrets
from collections.abc import Sequence
from pathlib import Path

from sqlalchemy import delete, insert, select, update

from shared.canonical import canonical_json
from shared.errors import ConfigError
from validator.database import Database, rounds
from validator.documents import Documents
from validator.probe_rounds import ProbeRound

KEY_FILE = "rounds.key"
KEY_BYTES = 32

_OWNER_ONLY = 0o600


def load_round_key(folder: Path) -> bytes:
    """The key that the secrets of all epochs are made from; made at the first start.

    Without it the rounds of two epochs count for nothing: their secrets are no longer those that were
    committed to.

    Raises:
        ConfigError: the file can't be read or made, or is damaged.
    """
    file = folder / KEY_FILE
    try:
        if not file.exists():
            _create(file)
        key = file.read_bytes()
    except OSError as error:
        raise ConfigError(f"{file} can't be read or made: {error}; check --state-dir") from None
    if len(key) != KEY_BYTES:
        raise ConfigError(f"{file} holds {len(key)} bytes, not {KEY_BYTES}: delete it, and a new one is made")
    return key


def shared_round_key(documents: Documents, folder: Path) -> bytes:
    """The key of auditors that share a database: that of the first of them. Blocks.

    Raises:
        ConfigError: the file of the state folder can't be read or made, or is damaged.
    """
    return bytes.fromhex(documents.put_first(KEY_FILE, load_round_key(folder).hex()))


def _create(file: Path) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    new = file.with_suffix(".new")
    with os.fdopen(os.open(new, os.O_CREAT | os.O_TRUNC | os.O_WRONLY, _OWNER_ONLY), "wb") as output:
        output.write(secrets.token_bytes(KEY_BYTES))
        output.flush()
        os.fsync(output.fileno())
    new.replace(file)


class RoundState:
    """Rounds by block. Every method is one transaction."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def begin(self, epoch: int, held: ProbeRound) -> bool:
        """Store a round that begins now, in `epoch`; False when its block has had one."""
        with self._database.writing() as connection:
            if connection.execute(select(rounds.c.block).where(rounds.c.block == held.block)).first():
                return False
            body = canonical_json(held).decode()
            values = {"block": held.block, "epoch": epoch, "body": body, "final": False}
            connection.execute(insert(rounds).values(values))
        return True

    def note(self, held: ProbeRound) -> None:
        """Store what has become known of a round since it began; nothing once its epoch is scored."""
        with self._database.writing() as connection:
            body = canonical_json(held).decode()
            changed = update(rounds).where(rounds.c.block == held.block, ~rounds.c.final)
            connection.execute(changed.values(body=body))

    def of(self, epoch: int) -> list[ProbeRound]:
        """The rounds that began in `epoch`, by block."""
        query = select(rounds.c.body).where(rounds.c.epoch == epoch).order_by(rounds.c.block)
        with self._database.reading() as connection:
            return [ProbeRound.model_validate_json(text) for text in connection.execute(query).scalars()]

    def settle(self, epoch: int, kept: Sequence[ProbeRound]) -> None:
        """Keep exactly these rounds of an epoch, for good: so they are published."""
        with self._database.writing() as connection:
            connection.execute(delete(rounds).where(rounds.c.epoch == epoch))
            for held in kept:
                body = canonical_json(held).decode()
                values = {"block": held.block, "epoch": epoch, "body": body, "final": True}
                connection.execute(insert(rounds).values(values))

    def forget(self, epoch: int) -> None:
        """Drop the rounds of published epochs up to `epoch`: the store has them."""
        with self._database.writing() as connection:
            connection.execute(delete(rounds).where(rounds.c.epoch <= epoch))
