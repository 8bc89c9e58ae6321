import json
from pathlib import Path

import pytest

from bench.detection.archive import Archive
from bench.detection.measuring import Measured
from tests.validator.auditor_examples import block_number, example_record, example_verdict
from validator.sampler_alternatives import alternatives, temperatures
from validator.sampling_rules import SamplingRule
from validator.verdicts import AlternativeFit, TokenCheck


def test_a_measured_row_comes_back_only_for_the_same_calibration(tmp_path: Path) -> None:
    calibration = tmp_path / "calibration"
    calibration.write_bytes(b"one")
    measured = Measured([example_verdict(example_record(1), block_number(1), "fail", 3.0)], 2)
    archive = Archive(tmp_path / "work", calibration)
    assert archive.load("int8") is None
    archive.save("int8", measured)
    assert archive.load("int8") == measured
    assert archive.load("int4") is None
    calibration.write_bytes(b"two")
    assert Archive(tmp_path / "work", calibration).load("int8") is None


@pytest.mark.parametrize(
    ("asked", "greedy"), [(0.8, False), (1.0, False), (0.9, False), (0.15, False), (0.0, True), (1.3, False)]
)
def test_verdicts_of_the_older_form_come_back_with_todays_names(
    tmp_path: Path, asked: float, greedy: bool
) -> None:
    rule = SamplingRule(temperature=asked, seed=1, top_p=0.9)
    today = [AlternativeFit(name=one.name, log_likelihood=-2.0) for one in alternatives(rule)]
    named = {name: f"at temperature {value:g}" for value, name in temperatures(rule).items()}
    older = [one.model_copy(update={"name": named.get(one.name, one.name)}) for one in today]
    assert older != today or greedy
    tokens = TokenCheck(checked=1, exact=1, missed=(0,) * 14, alternatives=tuple(older))
    verdict = example_verdict(example_record(1), block_number(1)).model_copy(update={"tokens": tokens})
    calibration, work = tmp_path / "calibration", tmp_path / "work"
    calibration.write_bytes(b"one")
    archive = Archive(work, calibration)
    archive.save("int8", Measured([verdict, example_verdict(example_record(2), block_number(1))], 0))
    file = json.loads((work / "int8.json").read_text())
    file["verdicts"] = [
        {name: value for name, value in one.items() if name != "ratios"} | {"version": "verdict/3"}
        for one in file["verdicts"]
    ]
    (work / "int8.json").write_text(json.dumps(file))
    found = archive.load("int8")
    assert found is not None
    assert found.verdicts[0].tokens is not None
    assert list(found.verdicts[0].tokens.alternatives) == today
    assert [one.version for one in found.verdicts] == ["verdict/4"] * 2


def test_a_file_of_another_form_counts_as_absent(tmp_path: Path) -> None:
    calibration = tmp_path / "calibration"
    calibration.write_bytes(b"one")
    archive = Archive(tmp_path / "work", calibration)
    archive.save("int4", Measured([], 0))
    (tmp_path / "work" / "int4.json").write_text('{"row": "int4", "verdicts": [{"version": "verdict/1"}]}')
    assert archive.load("int4") is None
