"""Verdicts held against the model that they speak for, repeated from nothing but what is published."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from shared.calibration import write_calibration
from shared.canonical import sha256_hex
from shared.errors import ConfigError
from tests.models import tiny_model
from tests.validator.auditor_examples import CHEAT, HONEST, UNREMARKABLE, UNREMARKABLE_RATIOS
from tests.validator.example_calibration import tiny_calibration
from tests.validator.model_epochs import (
    ANSWERS_EACH,
    HIDDEN_REQUEST,
    SILENT_REQUEST,
    model_epoch,
    tiny_reaudits,
)
from tests.validator.replayed import Replayed
from tests.validator.resealed_epochs import Resealed
from validator.evidence import log_e_value
from validator.reaudits import Reaudits
from validator.replay_config import ReplayConfig
from validator.replay_report import ReplayReport
from validator.replay_start import run
from validator.verdicts import Verdict


@pytest.fixture
def epochs(tmp_path: Path) -> Replayed:
    return model_epoch(tmp_path)


@pytest.fixture
def reaudits() -> Iterator[Reaudits]:
    with tiny_reaudits() as all_of_them:
        yield all_of_them


def replay(epochs: Replayed, reaudits: Reaudits) -> ReplayReport:
    return epochs.replay("1", chained=False, reaudits=reaudits)


def words(report: ReplayReport) -> str:
    (result,) = (one for one in report.results if one.name == "re-audit")
    return result.words


def publisher(epochs: Replayed) -> Resealed:
    return Resealed(epochs.store, 1, 1)


def judged(epochs: Replayed, hotkey: str, outcome: str) -> Verdict:
    found = [
        one
        for one in publisher(epochs).verdicts()
        if (one.miner_hotkey, one.outcome) == (hotkey, outcome) and one.request_id != HIDDEN_REQUEST
    ]
    return found[-1]


def test_every_verdict_of_an_honest_publisher_is_what_the_model_supports(
    epochs: Replayed, reaudits: Reaudits
) -> None:
    outcomes = {one.outcome for one in publisher(epochs).verdicts()}
    assert outcomes == {"pass", "fail"}
    report = replay(epochs, reaudits)
    assert report.sound, [one for one in report.results if one.state == "fails"]
    assert f"{3 * ANSWERS_EACH - 1} verdicts" in words(report)
    assert "1 can't be repeated, their text is not published" in words(report)


def test_a_silent_miner_stays_what_the_auditor_saw(epochs: Replayed, reaudits: Reaudits) -> None:
    silent = next(one for one in publisher(epochs).verdicts() if one.request_id == SILENT_REQUEST)
    assert (silent.outcome, silent.check) == ("fail", "answer")
    assert replay(epochs, reaudits).sound


def test_a_cheat_that_is_passed_is_not_supported_by_the_model(epochs: Replayed, reaudits: Reaudits) -> None:
    failed = judged(epochs, CHEAT.ss58_address, "fail")
    passed = {
        "outcome": "pass",
        "check": "all",
        "reason": "every check held",
        "evidence": UNREMARKABLE,
        "log_e": log_e_value(UNREMARKABLE),
        "ratios": dict(UNREMARKABLE_RATIOS),
        "tokens": None,
    }
    publisher(epochs).lie_about_verdicts(publisher(epochs).changed_verdict(failed.request_id, **passed))
    report = replay(epochs, reaudits)
    failing = {one.name for one in report.results if one.state == "fails"}
    assert "re-audit" in failing
    assert f"the verdict on {failed.request_id} is not supported by the model" in words(report)


def test_honest_statistics_put_in_the_place_of_a_cheats_are_not_supported(
    epochs: Replayed, reaudits: Reaudits
) -> None:
    failed, honest = judged(epochs, CHEAT.ss58_address, "fail"), judged(epochs, HONEST.ss58_address, "pass")
    stolen = {name: getattr(honest, name) for name in _JUDGEMENT}
    points = tuple(
        one.model_copy(update={"distance": other.distance})
        for one, other in zip(failed.points, honest.points, strict=True)
    )
    changed = publisher(epochs).changed_verdict(failed.request_id, **stolen, points=points)
    publisher(epochs).lie_about_verdicts(changed)
    report = replay(epochs, reaudits)
    assert {one.name for one in report.results if one.state == "fails"} <= {"re-audit", "challenges"}
    assert "is not supported by the model: it states" in words(report)


_JUDGEMENT = ("outcome", "check", "reason", "evidence", "log_e", "ratios", "tokens")


def test_an_honest_miner_that_is_framed_is_cleared_by_the_model(epochs: Replayed, reaudits: Reaudits) -> None:
    passed, cheat = judged(epochs, HONEST.ss58_address, "pass"), judged(epochs, CHEAT.ss58_address, "fail")
    framed = {name: getattr(cheat, name) for name in _JUDGEMENT}
    publisher(epochs).lie_about_verdicts(publisher(epochs).changed_verdict(passed.request_id, **framed))
    assert f"the verdict on {passed.request_id} is not supported" in words(replay(epochs, reaudits))


def test_an_invented_exact_failure_is_cleared_by_the_model(epochs: Replayed, reaudits: Reaudits) -> None:
    passed = judged(epochs, HONEST.ss58_address, "pass")
    invented: dict[str, Any] = {
        "outcome": "fail",
        "check": "text",
        "evidence": (),
        "ratios": {},
        "points": (),
        "tokens": None,
    }
    publisher(epochs).lie_about_verdicts(publisher(epochs).changed_verdict(passed.request_id, **invented))
    assert "is not supported by the model" in words(replay(epochs, reaudits))


def test_the_same_seed_repeats_the_same_audits(epochs: Replayed) -> None:
    def drawn(seed: int) -> list[tuple[int, str, str]]:
        with tiny_reaudits(3, seed) as some:
            return replay(epochs, some).repeated

    assert len(drawn(1)) == 3
    assert drawn(1) == drawn(1)
    assert len({tuple(drawn(seed)) for seed in range(4)}) > 1


def test_with_another_calibration_nothing_is_repeated(epochs: Replayed) -> None:
    with tiny_reaudits(3, sha256="00" * 32) as other:
        report = replay(epochs, other)
    assert report.sound
    assert "name the network's with --calibration" in words(report)


def test_a_stranger_repeats_audits_with_the_models_folder_and_the_calibration_file(
    epochs: Replayed, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "tiny.calibration"
    write_calibration(tiny_calibration(), file)
    publisher(epochs).lie(calibration_sha256=sha256_hex(file.read_bytes()))
    told = ReplayConfig(
        from_=str(epochs.folder / "store"), reaudit=2, model=str(tiny_model()), calibration=str(file)
    )
    assert run(told) == 0, "p-values and scores follow from the calibration, too"
    page = " ".join(capsys.readouterr().out.split())
    assert "p-values too, by the calibration" in page
    assert "2 verdicts, drawn with --seed 0, are what the model supports" in page


def test_another_models_calibration_is_refused_before_anything_is_repeated(
    epochs: Replayed, tmp_path: Path
) -> None:
    header = tiny_calibration().header.model_copy(update={"model_digest": "00" * 32})
    file = tmp_path / "other.calibration"
    write_calibration(replace(tiny_calibration(), header=header), file)
    told = ReplayConfig(
        from_=str(epochs.folder / "store"), reaudit=2, model=str(tiny_model()), calibration=str(file)
    )
    with pytest.raises(ConfigError, match="is for"):
        run(told)
