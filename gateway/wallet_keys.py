"""API keys that hotkeys sign in for: stored with the others, under the hotkey's name, a few for each."""

import secrets

from sqlalchemy import delete, select, update
from sqlalchemy.engine import Connection

from gateway.key_store import ApiKey, KeyStore, Limits, api_keys, gateway_secrets, used_challenges
from gateway.sign_in_challenge import SECRET_BYTES, Challenge
from shared.database import Database, insert_or_update

SECRET_NAME = "sign-in"


class WalletKeys:
    """Every method is one transaction and blocks."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._keys = KeyStore(database)

    def secret(self) -> bytes:
        """The secret of challenges, made at first use and shared by all who share the database."""
        mine = gateway_secrets.c.name == SECRET_NAME
        with self._database.writing() as connection:
            fresh = {"name": SECRET_NAME, "value": secrets.token_hex(SECRET_BYTES)}
            made = insert_or_update(connection, gateway_secrets).on_conflict_do_nothing()
            connection.execute(made.values(**fresh))
            stored: str = connection.execute(select(gateway_secrets.c.value).where(mine)).scalar_one()
        return bytes.fromhex(stored)

    def issue(
        self,
        secret: str,
        challenge: Challenge,
        now_ms: int,
        limits: Limits,
        expires_at_ms: int | None,
        most_keys: int,
    ) -> ApiKey | None:
        """Store a key for the hotkey of a challenge, which counts once; None when it was used before.

        A hotkey has at most `most_keys` valid keys: the oldest others are revoked.
        """
        with self._database.writing() as connection:
            if not _use(connection, challenge, now_ms):
                return None
            _revoke_oldest(connection, challenge.hotkey, now_ms, most_keys - 1)
            return self._keys.add(
                connection, secret, challenge.hotkey, now_ms, limits, expires_at_ms, challenge.hotkey
            )


def _use(connection: Connection, challenge: Challenge, now_ms: int) -> bool:
    connection.execute(delete(used_challenges).where(used_challenges.c.expires_at_ms < now_ms))
    taken = insert_or_update(connection, used_challenges).on_conflict_do_nothing()
    values = {"nonce": challenge.nonce, "expires_at_ms": challenge.expires_at_ms}
    inserted = connection.execute(taken.values(**values).returning(used_challenges.c.nonce))
    return inserted.first() is not None


def _revoke_oldest(connection: Connection, owner: str, now_ms: int, kept: int) -> None:
    valid = (
        select(api_keys.c.id)
        .where(api_keys.c.owner == owner, api_keys.c.revoked_at_ms.is_(None))
        .order_by(api_keys.c.created_at_ms.desc(), api_keys.c.id)
    )
    too_many = list(connection.execute(valid).scalars())[kept:]
    connection.execute(update(api_keys).where(api_keys.c.id.in_(too_many)).values(revoked_at_ms=now_ms))
