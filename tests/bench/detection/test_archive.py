from pathlib import Path

from bench.detection.archive import Archive
from bench.detection.measuring import Measured
from tests.validator.auditor_examples import block_number, example_record, example_verdict


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


def test_a_file_of_another_form_counts_as_absent(tmp_path: Path) -> None:
    calibration = tmp_path / "calibration"
    calibration.write_bytes(b"one")
    archive = Archive(tmp_path / "work", calibration)
    archive.save("int4", Measured([], 0))
    (tmp_path / "work" / "int4.json").write_text('{"row": "int4", "verdicts": [{"version": "verdict/1"}]}')
    assert archive.load("int4") is None
