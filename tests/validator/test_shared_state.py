"""What auditors on one database have in common, and what their loops survive."""

import asyncio
from pathlib import Path

import pytest
from sqlalchemy.exc import InternalError, OperationalError

from shared.errors import ChainUnavailable, DownloadFailed, StoreError
from validator.database import Database
from validator.documents import Documents
from validator.repeating import repeat
from validator.round_state import load_round_key, shared_round_key
from validator.synthetic_state import STATE_FILE, SharedState, SyntheticState, load_state, save_state
from validator.troubles import Troubles


def test_all_auditors_draw_rounds_with_the_key_of_the_first(database: Database, tmp_path: Path) -> None:
    documents = Documents(database)
    first, second = tmp_path / "first", tmp_path / "second"
    key = shared_round_key(documents, first)
    assert key == load_round_key(first), "an auditor that was alone keeps the key that it has committed to"
    assert shared_round_key(documents, second) == key != load_round_key(second)


def test_whoever_leads_goes_on_with_what_was_learned_of_clients(database: Database, tmp_path: Path) -> None:
    first = SharedState(Documents(database), tmp_path / "first" / STATE_FILE)
    second = SharedState(Documents(database), tmp_path / "second" / STATE_FILE)
    own = SyntheticState(key="11" * 32, own=("a",), workers={"gateway": (3, 500)})
    save_state(own, tmp_path / "first" / STATE_FILE)
    assert first.load() == own, "the first begins with its file"
    first.save(own.model_copy(update={"own": ("a", "b")}))
    assert second.load().own == ("a", "b")
    assert second.load().workers == own.workers
    assert load_state(tmp_path / "first" / STATE_FILE) == own


@pytest.mark.parametrize(
    "error",
    [
        ChainUnavailable("the chain is away"),
        StoreError("the disk is full"),
        DownloadFailed("the gateway is away"),
        OperationalError("SELECT 1", {}, Exception("the server is away")),
        InternalError("SELECT 1", {}, Exception("the transaction was idle"), connection_invalidated=True),
    ],
)
async def test_a_loop_goes_on_when_what_is_outside_fails_and_says_so_meanwhile(error: Exception) -> None:
    troubles, told, failures = Troubles(), list[dict[str, str]](), [error]
    chain_failed: list[bool] = []
    over = asyncio.Event()

    async def step() -> None:
        told.append(troubles.all())
        if failures:
            raise failures.pop()
        if len(told) == 3:
            over.set()

    looping = asyncio.create_task(repeat(0.0, "work", step, troubles, lambda: chain_failed.append(True)))
    await over.wait()
    looping.cancel()
    assert [list(one) for one in told] == [[], ["work"], []]
    assert "trying again" in told[1]["work"]
    assert bool(chain_failed) == isinstance(error, ChainUnavailable)


@pytest.mark.parametrize(
    "defect", [ZeroDivisionError(), InternalError("SELECT", {}, Exception("no such column"))]
)
async def test_a_defect_ends_the_loop(defect: Exception) -> None:
    async def step() -> None:
        raise defect

    with pytest.raises(type(defect)):
        await repeat(0.0, "work", step, Troubles())
