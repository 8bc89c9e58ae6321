"""Keys of hotkeys in the database: a challenge counts once, and a hotkey has few keys."""

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
from sqlalchemy import func, inspect, select

from gateway.key_store import (
    UNLIMITED,
    ApiKey,
    KeyStore,
    Limits,
    new_secret,
    open_key_database,
    used_challenges,
)
from gateway.sign_in_challenge import Challenge
from gateway.wallet_keys import WalletKeys
from shared.database import Database

NOW_MS = 1_700_000_000_000
HOTKEY, OTHER = "5Holder", "5Other"


@pytest.fixture
def database(database_url: str) -> Iterator[Database]:
    opened = open_key_database(database_url)
    yield opened
    opened.close()


def challenge(number: int, hotkey: str = HOTKEY, expires_at_ms: int = NOW_MS + 1000) -> Challenge:
    return Challenge("5Gateway", hotkey, expires_at_ms, f"{number:032x}", "")


def issue(
    keys: WalletKeys, number: int, hotkey: str = HOTKEY, now_ms: int = NOW_MS, most_keys: int = 2
) -> ApiKey | None:
    given = challenge(number, hotkey, now_ms + 1000)
    return keys.issue(new_secret(), given, now_ms, Limits(7), now_ms + 5000, most_keys)


def states(database: Database) -> list[str]:
    return [key.state(NOW_MS) for key in KeyStore(database).all()]


def test_a_key_has_its_hotkeys_name_and_account(database: Database) -> None:
    key = issue(WalletKeys(database), 1)
    assert key is not None
    assert KeyStore(database).all() == [key]
    assert (key.name, key.owner, key.account) == (HOTKEY, HOTKEY, HOTKEY)
    assert (key.limits, key.expires_at_ms) == (Limits(7), NOW_MS + 5000)


def test_an_operators_key_is_its_own_account(database: Database) -> None:
    key = KeyStore(database).create(new_secret(), "alice", NOW_MS, UNLIMITED)
    assert (key.owner, key.account) == (None, key.id)


def test_a_challenge_counts_once(database: Database) -> None:
    keys = WalletKeys(database)
    assert issue(keys, 1) is not None
    assert issue(keys, 1) is None
    assert issue(keys, 2) is not None
    assert len(KeyStore(database).all()) == 2


def test_of_many_that_use_a_challenge_at_once_one_gets_a_key(database: Database, database_url: str) -> None:
    others = [open_key_database(database_url) for _ in range(4)]
    together = threading.Barrier(len(others))

    def use(one: Database) -> bool:
        together.wait()
        return issue(WalletKeys(one), 1) is not None

    with ThreadPoolExecutor(len(others)) as pool:
        assert sorted(pool.map(use, others)) == [False, False, False, True]
    for one in others:
        one.close()
    assert states(database) == ["valid"]


def test_the_oldest_keys_of_a_hotkey_end_and_no_others(database: Database) -> None:
    keys = WalletKeys(database)
    KeyStore(database).create(new_secret(), "alice", NOW_MS - 1)
    issue(keys, 100, OTHER, NOW_MS)
    for number in range(1, 4):
        issue(keys, number, now_ms=NOW_MS + number)
    assert states(database) == ["valid", "valid", "revoked", "valid", "valid"]
    issue(keys, 4, now_ms=NOW_MS + 4, most_keys=1)
    assert states(database) == ["valid", "valid", "revoked", "revoked", "revoked", "valid"]


def test_challenges_that_have_expired_are_forgotten(database: Database) -> None:
    keys = WalletKeys(database)
    for number in range(5):
        issue(keys, number, now_ms=NOW_MS + 2000 * number)
    with database.reading() as connection:
        assert connection.execute(select(func.count()).select_from(used_challenges)).scalar_one() == 1


def test_the_secret_is_made_once_and_shared(database: Database, database_url: str) -> None:
    first = WalletKeys(database).secret()
    other = open_key_database(database_url)
    assert WalletKeys(other).secret() == first
    assert len(first) == 32
    other.close()


def test_a_database_from_before_wallets_is_brought_up_to_date(database_url: str) -> None:
    old = open_key_database(database_url)
    made = KeyStore(old).create(new_secret(), "alice", NOW_MS)
    with old.writing() as connection:
        for change in (
            "ALTER TABLE api_keys DROP COLUMN owner",
            "DROP TABLE used_challenges",
            "DROP TABLE gateway_secrets",
            "UPDATE gateway_schema_version SET version = 1",
        ):
            connection.exec_driver_sql(change)
    old.close()
    new = open_key_database(database_url)
    assert KeyStore(new).all() == [made]
    assert issue(WalletKeys(new), 1) is not None
    with new.reading() as connection:
        assert {"used_challenges", "gateway_secrets"} <= set(inspect(connection).get_table_names())
    new.close()
