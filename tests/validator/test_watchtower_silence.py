"""A publisher that falls silent, and what a watchtower goes on with; and verdicts that its model refutes."""

import contextlib
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from shared.errors import ConfigError
from shared.object_store import FolderStore
from shared.reference_memory import GIB
from tests.validator.auditor_examples import BLOCK_MS
from tests.validator.model_epochs import model_epoch, tiny_reaudits
from tests.validator.resealed_epochs import Resealed
from tests.validator.test_watchtower_process import Rig
from validator.database import Database
from validator.epoch_evidence import EpochRefused
from validator.silent_publisher import HOUR_MS, SET_AGAIN_MS, SilencePolicy
from validator.watchtower_config import WatchtowerConfig
from validator.watchtower_reaudits import EpochReaudits, watchtower_reaudits

POLICY = SilencePolicy(silent_after_ms=2 * HOUR_MS, keep_ms=24 * HOUR_MS)


@pytest.fixture
def rig(database: Database, tmp_path: Path) -> Iterator[Rig]:
    built = Rig(database, tmp_path)
    yield built
    built.own_database.close()


async def hours_pass(rig: Rig, hours: float) -> None:
    """Time passes, and the watchtower looks once, as it does all the time."""
    await rig.audit.new_block(round(hours * HOUR_MS / BLOCK_MS))
    with contextlib.suppress(EpochRefused):
        await rig.tower.look()
    await rig.tower.mind_silence()
    await rig.tower._setter.step()


async def test_the_last_sound_weights_are_set_again_for_a_while_and_no_longer(
    rig: Rig, caplog: pytest.LogCaptureFixture
) -> None:
    rig.restart(silent_hours=6.0)
    await rig.publish_epoch(0)
    await rig.tower.once()
    for _ in range(10):
        await hours_pass(rig, 1.0)
    assert len(rig.chain.sent) == 1 + 4, "in hours 3, 4, 5 and 6"
    assert all(one == rig.chain.sent[0] for one in rig.chain.sent)
    assert "its weights are set again every hour, 6 h long at most" in caplog.text
    assert "its weights are not set again" in caplog.text


async def test_an_operator_may_have_it_stop_at_once(rig: Rig) -> None:
    rig.restart(when_silent="stop")
    await rig.publish_epoch(0)
    await rig.tower.once()
    for _ in range(5):
        await hours_pass(rig, 1.0)
    assert len(rig.chain.sent) == 1


async def test_a_publisher_that_comes_back_is_followed_again(rig: Rig) -> None:
    await rig.publish_epoch(0)
    await rig.tower.once()
    await hours_pass(rig, 3.0)
    assert "silence" in rig.tower.troubles.all()
    await rig.publish_epoch(1000)
    assert await rig.tower.once() == 0
    await rig.tower.mind_silence()
    assert "silence" not in rig.tower.troubles.all()


async def test_before_anything_was_followed_there_is_nothing_to_go_on_with(rig: Rig) -> None:
    await rig.tower.mind_silence()
    assert rig.chain.sent == []


@pytest.mark.parametrize(
    ("age_h", "set_h_ago", "decision"),
    [
        (2.0, None, "sound"),
        (2.1, None, "again"),
        (5.0, 0.5, "wait"),
        (5.0, 1.0, "again"),
        (24.1, 9.0, "stop"),
    ],
)
def test_the_policy(age_h: float, set_h_ago: float | None, decision: str) -> None:
    now_ms = 1_700_000_000_000
    set_at_ms = None if set_h_ago is None else now_ms - round(set_h_ago * SET_AGAIN_MS)
    assert POLICY.decide(now_ms - round(age_h * HOUR_MS), set_at_ms, now_ms) == decision


def test_an_epoch_whose_verdicts_the_model_supports_is_followed(tmp_path: Path) -> None:
    epochs = model_epoch(tmp_path)
    with tiny_reaudits(3) as reaudits:
        EpochReaudits(epochs.store, reaudits, tmp_path).check(Resealed(epochs.store, 1, 1).summary())


def test_an_epoch_with_a_verdict_that_the_model_refutes_is_refused_each_time(tmp_path: Path) -> None:
    epochs = model_epoch(tmp_path)
    publisher = Resealed(epochs.store, 1, 1)
    nothing: dict[str, Any] = {"evidence": (), "ratios": {}, "points": (), "tokens": None}
    invented = {"outcome": "fail", "check": "text", "reason": "it told something else"} | nothing
    passed = [one.request_id for one in publisher.verdicts() if one.outcome == "pass"]
    for request_id in passed:
        publisher.lie_about_verdicts(publisher.changed_verdict(request_id, **invented))
    with tiny_reaudits() as reaudits:
        checks = EpochReaudits(epochs.store, reaudits, tmp_path)
        for _ in range(2):
            with pytest.raises(EpochRefused, match="not supported by the model") as refused:
                checks.check(publisher.summary())
            assert refused.value.cause == "re-audit"


def watchtower_config(model: Path) -> WatchtowerConfig:
    return WatchtowerConfig(source="https://epochs.example.org", model=str(model))


def test_without_memory_for_the_model_no_audits_are_repeated_and_the_log_says_so(
    tiny_model_folder: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    reader = FolderStore(tmp_path)
    assert watchtower_reaudits(watchtower_config(tiny_model_folder), reader, lambda: GIB) is None
    assert "no audits are repeated: the model takes 2." in caplog.text


@pytest.mark.parametrize("available_bytes", [8 * GIB, None])
def test_with_memory_for_the_model_its_calibration_is_asked_for(
    tiny_model_folder: Path, tmp_path: Path, available_bytes: int | None
) -> None:
    config = replace(watchtower_config(tiny_model_folder), calibration=str(tmp_path / "none"))
    with pytest.raises(ConfigError, match="none"):
        watchtower_reaudits(config, FolderStore(tmp_path), lambda: available_bytes)


def test_a_model_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(ConfigError):
        watchtower_reaudits(watchtower_config(tmp_path / "nowhere"), FolderStore(tmp_path), lambda: GIB)
