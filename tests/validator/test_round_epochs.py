"""Rounds through whole epochs: committed to, held, published, followed; and every way to lie about them."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from shared.canonical import sha256_hex
from shared.object_store import FolderStore
from shared.records import RequestRecord
from tests.validator.audit_rig import ROUND_KEY, AuditRig, epoch_traffic
from tests.validator.auditor_examples import (
    ALSO_HONEST,
    CHEAT,
    HONEST,
    block_number,
    example_record,
)
from tests.validator.published_epochs import Published
from validator.database import Database
from validator.epoch_check import check_latest
from validator.probe_rounds import (
    ProbeRound,
    RoundRequests,
    epoch_secret,
    members,
    round_after,
    secret_commitment,
)
from validator.round_book import RoundBook
from validator.round_check import evidence_of
from validator.round_history import NO_ROUNDS, RoundHistory
from validator.round_state import RoundState
from validator.scoring_config import ScoringConfig

CONFIG = ScoringConfig()
MINERS = {one.ss58_address: (one, uid) for uid, one in enumerate((HONEST, ALSO_HONEST, CHEAT), start=1)}


def hold(rig: AuditRig, epoch: int, first: int, secret: str | None = None) -> list[RequestRecord]:
    """Hold all rounds of the last 30 blocks, and give their records."""
    secret = secret or epoch_secret(ROUND_KEY, epoch)
    records: list[RequestRecord] = []
    for number in range(max(0, rig.chain.height - 30), rig.chain.height):
        block = block_number(number)
        drawn = round_after(secret, block.hash, CONFIG)
        if drawn is None:
            continue
        asked: list[RoundRequests] = []
        for hotkey in members(secret, block.hash, drawn.full, MINERS):
            own = [
                example_record(
                    first + len(records) + n, *MINERS[hotkey], finished_at_ms=block.timestamp_ms + 1500 + n
                )
                for n in range(drawn.requests_each)
            ]
            records += own
            asked.append(RoundRequests(hotkey=hotkey, request_ids=tuple(one.request_id for one in own)))
        held = ProbeRound(
            block=number,
            block_hash=block.hash,
            block_at_ms=block.timestamp_ms,
            full=drawn.full,
            requests_each=drawn.requests_each,
            miners=tuple(sorted(MINERS)),
            asked=tuple(asked),
        )
        assert rig.rounds.begin(epoch, held)
    return records


@pytest.fixture
async def rig(database: Database, tmp_path: Path) -> AuditRig:
    """Two epochs have been published; the third is open and its secret committed to."""
    rig = AuditRig(database)
    for number in range(2):
        await rig.new_block(30)
        await rig.run_epoch(epoch_traffic(number * 1000, rig.clock()))
        rig.publish_next(FolderStore(tmp_path / "store"))
    return rig


async def published(rig: AuditRig, tmp_path: Path, records: Sequence[RequestRecord]) -> Published:
    store = FolderStore(tmp_path / "store")
    await rig.run_epoch([*epoch_traffic(5000, rig.clock()), *records])
    rig.publish_next(store)
    return Published(store, rig.clock(), newest=3)


async def test_rounds_are_published_and_followed(rig: AuditRig, tmp_path: Path) -> None:
    found = await published(rig, tmp_path, hold(rig, 3, 9000))
    summary, _ = check_latest(found.store, found.expected(), found.followed(2))
    assert summary.round_secret == epoch_secret(ROUND_KEY, 3)
    assert summary.round_commitment == secret_commitment(epoch_secret(ROUND_KEY, 5))
    assert found.held() == rig.rounds.of(3)
    assert summary.probes.rounds == len(found.held()) == len(summary.rounds_after.rounds) > 0


async def test_rounds_are_handed_to_the_next_epoch(rig: AuditRig, tmp_path: Path) -> None:
    first = await published(rig, tmp_path, hold(rig, 3, 9000))
    before = first.summary(3).rounds_after
    await rig.new_block(40)
    records = hold(rig, 4, 12_000)
    await rig.run_epoch([*epoch_traffic(7000, rig.clock()), *records])
    rig.publish_next(first.store)
    after = first.summary(4).rounds_after
    assert after.rounds[: len(before.rounds)] == before.rounds
    assert len(after.rounds) > len(before.rounds)
    check_latest(first.store, first.expected(now_ms=rig.clock()), first.followed(3))


async def test_rounds_before_any_commitment_count_for_nothing(database: Database) -> None:
    rig = AuditRig(database)
    await rig.new_block(30)
    sealed = await rig.run_epoch(hold(rig, 1, 9000))
    summary = sealed.summary()
    assert (summary.round_secret, summary.probes.rounds, rig.rounds.of(1)) == (None, 0, [])
    assert summary.round_commitment == secret_commitment(epoch_secret(ROUND_KEY, 3))


async def test_rounds_of_another_secret_are_left_out(rig: AuditRig, tmp_path: Path) -> None:
    found = await published(rig, tmp_path, hold(rig, 3, 9000, sha256_hex(b"another")))
    assert found.summary(3).probes.rounds == len(rig.rounds.of(3)) < 3
    check_latest(found.store, found.expected(), found.followed(2))


def test_a_lost_key_costs_two_epochs_of_rounds(database: Database) -> None:
    state = RoundState(database)
    history = NO_ROUNDS
    counted: list[bool] = []
    for epoch, key in enumerate([b"old"] * 4 + [b"new"] * 4, start=1):
        inputs = RoundBook(state, key, CONFIG).close(epoch, evidence_of((), ()), history)
        counted.append(inputs.secret is not None)
        history = RoundHistory(commitments=(history.commitments[1], inputs.commitment))
    assert counted == [False, False, True, True, False, False, True, True]


def without_a_round(found: Published) -> dict[str, Any]:
    return found.put(replace(found.contents(), rounds=found.held()[1:]))


LIES: dict[str, tuple[str, Callable[[Published], dict[str, Any]]]] = {
    "another secret": ("evidence", lambda _: {"round_secret": sha256_hex(b"chosen later")}),
    "no secret": ("evidence", lambda _: {"round_secret": None}),
    "another commitment": ("history", lambda _: {"round_commitment": sha256_hex(b"free choice")}),
    "rounds forgotten": ("history", lambda _: {"rounds_after": NO_ROUNDS}),
    "a finding left out": (
        "scores",
        lambda found: {"probes": found.summary(3).probes.model_copy(update={"rounds": 0})},
    ),
    "a round left out": ("scores", without_a_round),
}


@pytest.mark.parametrize("lie", LIES)
async def test_lies_about_rounds_are_refused(rig: AuditRig, tmp_path: Path, lie: str) -> None:
    found = await published(rig, tmp_path, hold(rig, 3, 9000))
    cause, changes = LIES[lie]
    found.lie(**changes(found))
    assert found.refusal(found.followed(2)) == cause
