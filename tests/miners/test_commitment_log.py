"""Segments on disk: what was appended is found, what was released goes, and foreign files stay."""

import logging
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from miners.commitment_log import CommitmentLog
from shared.errors import ConfigError
from tests.miners.full_disk import files_no_longer_than
from tests.miners.test_commitment_store import Clock, named

SEGMENT_S = 50.0
HOTKEY, OTHER_HOTKEY = "5Miner", "5Other"

Opener = Callable[..., CommitmentLog]


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def opened(tmp_path: Path, clock: Clock) -> Iterator[Opener]:
    """Opens the folder; the log that was open ends there as with its process."""
    logs: list[CommitmentLog] = []

    def end() -> None:
        while logs:
            logs.pop().close()

    def again(hotkey: str = HOTKEY, segment_bytes: int = 1 << 20) -> CommitmentLog:
        end()
        logs.append(CommitmentLog(tmp_path, hotkey, SEGMENT_S, clock, segment_bytes))
        return logs[-1]

    yield again
    end()


def found(log: CommitmentLog) -> list[str]:
    return [one.commitment.request_id for one in log.read()]


def segments(folder: Path) -> list[str]:
    return sorted(file.name for file in folder.glob("commitments-*.log"))


def test_the_next_process_finds_what_was_appended_in_order_and_how_old_it_is(
    opened: Opener, clock: Clock
) -> None:
    log = opened()
    log.append(named(1))
    clock.now_s += 30
    log.append(named(2))
    clock.now_s += 5
    read = list(opened().read())
    assert [(one.commitment.request_id, one.age_s) for one in read] == [("request-1", 35), ("request-2", 5)]
    assert read[0].commitment.tree().root == named(1).tree().root


def test_a_clock_that_was_set_back_makes_nothing_older_than_it_is(opened: Opener, clock: Clock) -> None:
    opened().append(named(1))
    clock.now_s -= 500
    assert [one.age_s for one in opened().read()] == [0.0]


def test_each_process_begins_a_segment_of_its_own(opened: Opener, tmp_path: Path) -> None:
    for number in range(3):
        opened().append(named(number))
    assert segments(tmp_path) == [f"commitments-0000000{n}.log" for n in (1, 2, 3)]
    assert found(opened()) == ["request-0", "request-1", "request-2"]


def test_a_segment_is_closed_when_it_is_long_and_when_it_is_old(
    opened: Opener, clock: Clock, tmp_path: Path
) -> None:
    log = opened(segment_bytes=1)
    assert [log.append(named(number)) for number in (1, 2)] == [1, 2]
    log = opened()
    assert [log.append(named(number)) for number in (3, 4)] == [3, 3]
    clock.now_s += SEGMENT_S
    assert log.append(named(5)) == 4
    assert len(segments(tmp_path)) == 4


def test_a_segment_goes_with_the_last_commitment_that_it_holds(opened: Opener, tmp_path: Path) -> None:
    log = opened()
    first, second = log.append(named(1)), log.append(named(2))
    log.release(first)
    assert len(segments(tmp_path)) == 1
    log.release(second)
    assert segments(tmp_path) == []
    log.append(named(3))
    assert found(opened()) == ["request-3"], "after the newest segment went, the next is another"


def test_a_released_commitment_of_an_earlier_process_takes_its_segment_along(
    opened: Opener, tmp_path: Path
) -> None:
    log = opened()
    for number in (1, 2):
        log.append(named(number))
    log = opened()
    for one in log.read():
        assert len(segments(tmp_path)) == 1, "what is being read stays"
        log.release(one.segment)
    assert segments(tmp_path) == []


@pytest.mark.parametrize("cut_bytes", [1, 50, 1000])
def test_a_torn_end_is_skipped_and_said_and_what_stands_before_it_is_found(
    opened: Opener, tmp_path: Path, caplog: pytest.LogCaptureFixture, cut_bytes: int
) -> None:
    log = opened()
    for number in (1, 2):
        log.append(named(number))
    file = tmp_path / segments(tmp_path)[0]
    file.write_bytes(file.read_bytes()[:-cut_bytes])
    assert found(opened()) == ["request-1"]
    assert "no whole commitment" in caplog.text


@pytest.mark.parametrize("kept_bytes", [0, 10])
def test_a_segment_that_ends_within_its_header_is_nothing_and_goes(
    opened: Opener, tmp_path: Path, caplog: pytest.LogCaptureFixture, kept_bytes: int
) -> None:
    opened().append(named(1))
    file = tmp_path / segments(tmp_path)[0]
    file.write_bytes(file.read_bytes()[:kept_bytes])
    with caplog.at_level(logging.WARNING):
        assert found(opened()) == []
    assert (segments(tmp_path), caplog.text) == ([], "")


@pytest.mark.parametrize("content", [b"notes of somebody", b"constantinople commitments/2 of 5Miner\n"])
def test_a_foreign_file_is_refused_by_name_and_stays(opened: Opener, tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "commitments-00000007.log"
    file.write_bytes(content)
    with pytest.raises(ConfigError, match=r"commitments-00000007\.log.*--state-dir"):
        found(opened())
    assert file.read_bytes() == content


def test_another_hotkeys_commitments_are_refused(opened: Opener) -> None:
    opened(OTHER_HOTKEY).append(named(1))
    with pytest.raises(ConfigError, match="this hotkey's"):
        found(opened())


def test_files_of_other_names_are_neither_read_nor_touched(opened: Opener, tmp_path: Path) -> None:
    (tmp_path / "README").write_text("hands off")
    log = opened()
    log.release(log.append(named(1)))
    assert found(opened()) == []
    assert (tmp_path / "README").read_text() == "hands off"


def test_two_miners_can_not_share_a_folder(opened: Opener, tmp_path: Path, clock: Clock) -> None:
    opened()
    with pytest.raises(ConfigError, match="another miner of this hotkey"):
        CommitmentLog(tmp_path, HOTKEY, SEGMENT_S, clock)


@pytest.mark.parametrize("already", [0, 1])
def test_a_write_that_the_disk_cuts_off_leaves_no_trace_and_the_next_succeeds(
    opened: Opener, tmp_path: Path, caplog: pytest.LogCaptureFixture, already: int
) -> None:
    log = opened()
    for number in range(already):
        log.append(named(number))
    size = sum(file.stat().st_size for file in tmp_path.glob("commitments-*.log"))
    with files_no_longer_than(size + 100), pytest.raises(OSError, match="large"):
        log.append(named(8))
    log.append(named(9))
    assert found(opened()) == [*(f"request-{n}" for n in range(already)), "request-9"]
    assert caplog.text == ""


def test_nobody_else_may_read_what_clients_asked(opened: Opener, tmp_path: Path) -> None:
    opened().append(named(1))
    assert (tmp_path / segments(tmp_path)[0]).stat().st_mode & 0o077 == 0
