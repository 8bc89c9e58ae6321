"""A row that was stopped goes on with the requests that it lacks; nothing is measured twice."""

from collections.abc import Callable, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import bench.detection.run as run
from bench.detection.archive import Archive
from bench.detection.config import DetectionConfig
from bench.detection.measuring import Measured
from bench.detection.rows import cheat_row
from tests.validator.auditor_examples import block_number, example_record, example_verdict
from validator.calibration_requests import NoiseRequest

SHARED: Any = SimpleNamespace(calibration=SimpleNamespace(header=SimpleNamespace(model="demo")))


class Miner:
    """Answers so many requests, and then is stopped."""

    def __init__(self, answers: int) -> None:
        self.answers = answers
        self.asked: list[str] = []

    async def measure(
        self,
        _shared: object,
        _row: object,
        requests: Sequence[NoiseRequest],
        measured: Measured,
        keep: Callable[[Measured], None],
        _say: object,
    ) -> None:
        for request in requests[: self.answers]:
            self.asked.append(request.request_id)
            verdict = example_verdict(example_record(1), block_number(1))
            measured.verdicts.append(verdict.model_copy(update={"request_id": request.request_id}))
        keep(measured)


@pytest.fixture
def archive(tmp_path: Path) -> Archive:
    (tmp_path / "calibration").write_bytes(b"one")
    return Archive(tmp_path / "work", tmp_path / "calibration")


async def measured_by(
    miner: Miner, archive: Archive, monkeypatch: pytest.MonkeyPatch, config: DetectionConfig
) -> Measured:
    monkeypatch.setattr(run, "measure", miner.measure)
    return await run._measured(config, SHARED, archive, cheat_row("int8"), lambda words: None)


async def test_a_stopped_row_goes_on_where_it_was(archive: Archive, monkeypatch: pytest.MonkeyPatch) -> None:
    first, second, third = Miner(3), Miner(100), Miner(100)
    config = DetectionConfig(requests=8)
    await measured_by(first, archive, monkeypatch, config)
    whole = await measured_by(second, archive, monkeypatch, config)
    assert (len(first.asked), len(second.asked)) == (3, 5)
    assert len({one.request_id for one in whole.verdicts}) == 8
    await measured_by(third, archive, monkeypatch, config)
    assert third.asked == []


async def test_fresh_measures_all_again(archive: Archive, monkeypatch: pytest.MonkeyPatch) -> None:
    again = Miner(100)
    await measured_by(Miner(100), archive, monkeypatch, DetectionConfig(requests=8))
    await measured_by(again, archive, monkeypatch, DetectionConfig(requests=8, fresh=True))
    assert len(again.asked) == 8


async def test_as_measured_asks_nothing(archive: Archive, monkeypatch: pytest.MonkeyPatch) -> None:
    idle = Miner(100)
    await measured_by(Miner(3), archive, monkeypatch, DetectionConfig(requests=8))
    found = await measured_by(idle, archive, monkeypatch, DetectionConfig(requests=8, as_measured=True))
    assert (len(found.verdicts), idle.asked) == (3, [])
