"""Keys in the database, and in memory."""

import sqlite3
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import create_engine, text
from sqlalchemy.exc import OperationalError

from gateway.errors import ApiError
from gateway.key_ring import KeyRing
from gateway.key_store import KEY_PREFIX, KeyStore, Limits, digest_of, keys_url, new_secret, open_key_database
from shared.errors import ConfigError
from validator.database import Database as AuditorDatabase

NOW_MS = 1_700_000_000_000


@pytest.fixture
def store(database_url: str) -> Iterator[KeyStore]:
    database = open_key_database(database_url)
    yield KeyStore(database)
    database.close()


@pytest.fixture
def file_store(tmp_path: Path) -> Iterator[KeyStore]:
    database = open_key_database(keys_url(None, tmp_path))
    yield KeyStore(database)
    database.close()


def ring(store: KeyStore) -> KeyRing:
    found = KeyRing(store)
    found.load()
    return found


def refusal(ring: KeyRing, secret: str, now_ms: int = NOW_MS) -> str:
    with pytest.raises(ApiError) as caught:
        ring.find(secret, now_ms)
    assert (caught.value.status, caught.value.code) == (401, "invalid_api_key")
    assert secret not in str(caught.value)
    assert digest_of(secret) not in str(caught.value)
    return str(caught.value)


def test_keys_are_long_random_and_recognisable() -> None:
    made = {new_secret() for _ in range(100)}
    assert len(made) == 100
    assert all(key.startswith(KEY_PREFIX) and len(key) == len(KEY_PREFIX) + 43 for key in made)


def test_a_stored_key_is_found_with_its_limits(store: KeyStore) -> None:
    secret, limits = new_secret(), Limits(60, 1000, 50_000)
    made = store.create(secret, "alice", NOW_MS, limits)
    assert ring(store).find(secret, NOW_MS) == made == store.all()[0]
    assert (made.limits, made.name, made.state(NOW_MS)) == (limits, "alice", "valid")


def test_the_secret_is_nowhere_in_the_database(file_store: KeyStore, tmp_path: Path) -> None:
    secret = new_secret()
    file_store.create(secret, "alice", NOW_MS)
    stored = b"".join(file.read_bytes() for file in tmp_path.iterdir())
    assert secret[:8].encode() in stored
    assert secret[:12].encode() not in stored
    assert secret[12:].encode() not in stored


def test_the_database_is_its_owners_alone(file_store: KeyStore, tmp_path: Path) -> None:
    assert {stat.S_IMODE(file.stat().st_mode) for file in tmp_path.iterdir()} == {0o600}


@pytest.mark.parametrize("change", ["another", "longer", "shorter", "case", "digest"])
def test_what_is_not_exactly_a_key_is_refused(store: KeyStore, change: str) -> None:
    secret = new_secret()
    store.create(secret, "alice", NOW_MS)
    wrong = {
        "another": new_secret(),
        "longer": secret + "A",
        "shorter": secret[:-1],
        "case": secret.swapcase(),
        "digest": digest_of(secret),
    }
    assert "not one of this gateway" in refusal(ring(store), wrong[change])


def test_revoked_and_expired_keys_say_so(store: KeyStore) -> None:
    first, second = new_secret(), new_secret()
    revoked = store.create(first, "a", NOW_MS)
    expiring = store.create(second, "b", NOW_MS, expires_at_ms=NOW_MS + 1000)
    store.revoke(revoked.id, NOW_MS + 5)
    keys = ring(store)
    assert f"{revoked.id} is revoked" in refusal(keys, first)
    assert keys.find(second, NOW_MS + 999) == expiring
    assert f"{expiring.id} is expired" in refusal(keys, second, NOW_MS + 1000)


def test_the_first_revocation_stays(store: KeyStore) -> None:
    key = store.create(new_secret(), "a", NOW_MS)
    store.revoke(key.id, NOW_MS + 5)
    assert store.revoke(key.id, NOW_MS + 9).revoked_at_ms == NOW_MS + 5


def test_revoking_what_is_not_there_is_told(store: KeyStore) -> None:
    with pytest.raises(ConfigError, match="there is no key 'key_x'"):
        store.revoke("key_x", NOW_MS)


async def test_the_ring_follows_what_others_write(store: KeyStore) -> None:
    keys, secret = ring(store), new_secret()
    refusal(keys, secret)
    key = store.create(secret, "a", NOW_MS)
    await keys.refresh()
    assert keys.find(secret, NOW_MS) == key
    store.revoke(key.id, NOW_MS)
    await keys.refresh()
    assert "revoked" in refusal(keys, secret)


class Broken(KeyStore):
    """A store whose database is away."""

    def stamp(self) -> tuple[int, int]:
        raise OperationalError("SELECT", {}, Exception("away"))


async def test_without_the_database_the_last_keys_go_on(
    store: KeyStore, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    secret = new_secret()
    store.create(secret, "a", NOW_MS)
    keys = ring(store)
    monkeypatch.setattr(keys, "_store", Broken(store._database))
    await keys.refresh()
    await keys.refresh()
    assert keys.find(secret, NOW_MS).name == "a"
    assert caplog.text.count("API keys can't be read") == 1
    monkeypatch.undo()
    await keys.refresh()
    assert keys.find(secret, NOW_MS).name == "a"


def test_a_database_of_a_newer_program_is_refused(tmp_path: Path) -> None:
    open_key_database(keys_url(None, tmp_path)).close()
    with sqlite3.connect(tmp_path / "keys.sqlite") as connection:
        connection.execute("UPDATE gateway_schema_version SET version = 99")
    with pytest.raises(ConfigError, match="update the program"):
        open_key_database(keys_url(None, tmp_path))


VERSION_1 = (
    "CREATE TABLE api_keys (id TEXT NOT NULL PRIMARY KEY, digest TEXT NOT NULL UNIQUE, hint TEXT NOT NULL, "
    "name TEXT NOT NULL, created_at_ms BIGINT NOT NULL, expires_at_ms BIGINT, revoked_at_ms BIGINT, "
    "requests_per_minute BIGINT, tokens_per_minute BIGINT, tokens_per_day BIGINT)",
    "CREATE TABLE usage (day TEXT NOT NULL, client TEXT NOT NULL, model TEXT NOT NULL, "
    "requests BIGINT NOT NULL, "
    "prompt_tokens BIGINT NOT NULL, output_tokens BIGINT NOT NULL, PRIMARY KEY (day, client, model))",
    "CREATE INDEX usage_by_client ON usage (client, day)",
    "CREATE TABLE gateway_schema_version (version INTEGER NOT NULL)",
    "INSERT INTO gateway_schema_version VALUES (1)",
)


def test_keys_of_the_first_version_are_kept(database_url: str) -> None:
    secret, engine = new_secret(), create_engine(database_url)
    row = f"INSERT INTO api_keys VALUES ('key_1', '{digest_of(secret)}', 'cst_1234', 'alice', {NOW_MS}"
    with engine.begin() as connection:
        for statement in (*VERSION_1, f"{row}, NULL, NULL, 60, NULL, NULL)"):
            connection.execute(text(statement))
    engine.dispose()
    database = open_key_database(database_url)
    found = ring(KeyStore(database)).find(secret, NOW_MS)
    assert (found.name, found.limits.requests_per_minute, found.owner) == ("alice", 60, None)
    database.close()


def test_gateway_and_auditor_can_share_a_database(database_url: str) -> None:
    AuditorDatabase(database_url).close()
    database = open_key_database(database_url)
    KeyStore(database).create(new_secret(), "a", NOW_MS)
    database.close()
    AuditorDatabase(database_url).close()


def test_a_database_that_can_not_be_opened_is_named_by_its_flag() -> None:
    with pytest.raises(ConfigError, match="--keys-database"):
        open_key_database("nonsense")
