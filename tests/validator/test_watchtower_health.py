import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from localnet.config import PROJECT_ROOT
from tests.validator.auditor_examples import ExampleClock
from validator.clock import unix_ms
from validator.heartbeat import FILE_NAME, HeartbeatFile, read_heartbeat
from validator.watchtower_health import health

NOW_MS = 1_800_000_000_000
MINUTE_MS = 60_000


@pytest.fixture
def clock() -> ExampleClock:
    return ExampleClock(NOW_MS)


@pytest.fixture
def file(tmp_path: Path, clock: ExampleClock) -> HeartbeatFile:
    return HeartbeatFile(tmp_path, "https://epochs.example.org", 60.0, clock, "abc123")


def go_on(file: HeartbeatFile, clock: ExampleClock, minutes: int, **said: Any) -> None:
    """Both parts come round every minute, with what they say."""
    for _ in range(minutes):
        clock.now_ms += MINUTE_MS
        troubles = said.get("troubles", {})
        file.looked(said.get("epoch", 7), troubles)
        file.stepped(said.get("weights", "weights of epoch 7: set, …"), said.get("waiting", False), troubles)


def test_a_watchtower_that_goes_on_is_well(file: HeartbeatFile, clock: ExampleClock, tmp_path: Path) -> None:
    go_on(file, clock, 600)
    well, why = health(tmp_path, clock.now_ms + 30_000)
    assert well
    assert why == (
        "well (revision abc123): follows epoch 7 of https://epochs.example.org, looked 30 s ago; "
        "weights of epoch 7: set, …"
    )


def test_one_that_never_started_shows_no_sign_of_life(tmp_path: Path) -> None:
    well, why = health(tmp_path, NOW_MS)
    assert not well
    assert "no sign of life" in why
    assert str(tmp_path) in why


def test_one_that_waits_for_the_first_epoch_is_well(
    file: HeartbeatFile, clock: ExampleClock, tmp_path: Path
) -> None:
    go_on(file, clock, 600, epoch=None, weights="no weights yet")
    assert health(tmp_path, clock.now_ms)[0]
    assert "waits for the first epoch" in health(tmp_path, clock.now_ms)[1]


def test_one_that_stopped_is_stale_after_its_pause_and_a_quarter_of_an_hour(
    file: HeartbeatFile, clock: ExampleClock, tmp_path: Path
) -> None:
    go_on(file, clock, 3)
    assert health(tmp_path, clock.now_ms + 16 * MINUTE_MS)[0]
    well, why = health(tmp_path, clock.now_ms + 17 * MINUTE_MS)
    assert not well
    assert "stale: it last looked for epochs 17 min ago" in why


@pytest.mark.parametrize("hanging", ["epochs", "weights"])
def test_a_part_that_hangs_is_noticed_while_the_other_goes_on(
    file: HeartbeatFile, clock: ExampleClock, tmp_path: Path, hanging: str
) -> None:
    for _ in range(20):
        clock.now_ms += MINUTE_MS
        if hanging == "weights":
            file.looked(7, {})
        else:
            file.stepped("weights of epoch 7: set, …", False, {})
    well, why = health(tmp_path, clock.now_ms)
    assert not well
    assert hanging in why
    assert why.count("stale") == 1


def test_what_an_earlier_process_said_counts_no_more(
    file: HeartbeatFile, clock: ExampleClock, tmp_path: Path
) -> None:
    go_on(file, clock, 30, troubles={"epochs": "refused (stale): …"})
    assert not health(tmp_path, clock.now_ms)[0]
    HeartbeatFile(tmp_path, "https://epochs.example.org", 60.0, clock, "")
    assert health(tmp_path, clock.now_ms)[0]


def test_a_passing_trouble_is_told_and_a_lasting_one_is_a_failure(
    file: HeartbeatFile, clock: ExampleClock, tmp_path: Path
) -> None:
    go_on(file, clock, 10, troubles={"epochs": "the source is away"})
    well, why = health(tmp_path, clock.now_ms)
    assert well
    assert "for the moment epochs: the source is away" in why
    go_on(file, clock, 10, troubles={"epochs": "the source is away, in other words"})
    well, why = health(tmp_path, clock.now_ms)
    assert not well
    assert why == "epochs, for 19 min: the source is away, in other words"
    go_on(file, clock, 1)
    assert health(tmp_path, clock.now_ms)[0]


def test_weights_that_wait_for_hours_are_a_failure_with_its_reason(
    file: HeartbeatFile, clock: ExampleClock, tmp_path: Path
) -> None:
    said = {"waiting": True, "weights": "weights of epoch 7: pending, not registered"}
    go_on(file, clock, 170, **said)
    assert health(tmp_path, clock.now_ms)[0]
    go_on(file, clock, 20, **said)
    well, why = health(tmp_path, clock.now_ms)
    assert not well
    assert why == "no weights have reached the chain for 3.2 h: weights of epoch 7: pending, not registered"


def test_a_heartbeat_from_the_future_is_not_believed(
    file: HeartbeatFile, clock: ExampleClock, tmp_path: Path
) -> None:
    go_on(file, clock, 60)
    well, why = health(tmp_path, NOW_MS)
    assert not well
    assert "60 min in the future" in why


@pytest.mark.parametrize("damage", ["", "null", "[1]", "{", '{"revision": 1}', '{"troubles": {"a": 1}}'])
def test_a_damaged_heartbeat_is_no_sign_of_life(file: HeartbeatFile, tmp_path: Path, damage: str) -> None:
    (tmp_path / FILE_NAME).write_text(damage)
    assert read_heartbeat(tmp_path) is None
    assert not health(tmp_path, NOW_MS)[0]


def test_a_state_folder_that_can_not_be_written_stops_nothing(
    tmp_path: Path, clock: ExampleClock, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").write_text("")
    file = HeartbeatFile(tmp_path / "file", "x", 60.0, clock, "")
    file.looked(1, {})
    assert "the heartbeat can't be written" in caplog.text
    assert not health(tmp_path / "file", NOW_MS)[0]


def ask(state: Path, *more: str) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, *more, "validator/watchtower.py", "--health", "--state-dir", str(state)]
    return subprocess.run(command, cwd=PROJECT_ROOT, capture_output=True, text=True, check=False)


def test_the_command_answers_with_words_and_a_status(tmp_path: Path) -> None:
    assert ask(tmp_path).returncode == 1
    HeartbeatFile(tmp_path, "https://epochs.example.org", 60.0, unix_ms, "")
    answer = ask(tmp_path)
    assert answer.returncode == 0, answer.stdout
    assert answer.stdout.startswith("well: waits for the first epoch of https://epochs.example.org")
    said = json.loads((tmp_path / FILE_NAME).read_text())
    (tmp_path / FILE_NAME).write_text(json.dumps({**said, "looked_at_ms": unix_ms() - 3_600_000}))
    answer = ask(tmp_path)
    assert answer.returncode == 1
    assert answer.stdout.startswith("stale:")


def test_the_command_imports_nothing_heavy(tmp_path: Path) -> None:
    imported = ask(tmp_path, "-X", "importtime").stderr
    names = {line.rsplit("|", 1)[-1].strip().split(".")[0] for line in imported.splitlines()}
    assert "argparse" in names
    assert not names & {
        "bittensor",
        "httpx",
        "pydantic",
        "sqlalchemy",
        "pyarrow",
        "numpy",
        "torch",
        "asyncio",
    }


def test_no_partial_file_stays(file: HeartbeatFile, tmp_path: Path) -> None:
    file.looked(1, {})
    assert [path.name for path in tmp_path.iterdir()] == [FILE_NAME]
