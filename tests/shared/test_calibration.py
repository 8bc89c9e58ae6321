from pathlib import Path

import pytest
import torch

from shared.calibration import Calibration, parse_calibration, read_calibration, write_calibration
from shared.calibration_header import CALIBRATION_FILE, CalibrationHeader, find_calibration
from shared.errors import ModelError
from shared.honest_noise import HonestNoise
from tests.shared.noise_examples import honest_noise

NOISE = honest_noise(2)


def example(noise: HonestNoise | None = NOISE, num_layers: int = 2) -> Calibration:
    header = CalibrationHeader(
        model="tiny",
        model_digest="0" * 64,
        num_layers=num_layers,
        hidden_size=8,
        reference="a test",
        statistics_tokens=100,
        noise=noise,
    )
    return Calibration(header, torch.arange(16.0).reshape(2, 8), torch.ones(2, 8))


def test_a_calibration_survives_its_file(tmp_path: Path) -> None:
    file = tmp_path / "c.safetensors"
    write_calibration(example(), file)
    again = read_calibration(file)
    assert again.header == example().header
    assert torch.equal(again.mean, example().mean)
    assert again.digest == example().digest
    assert list(tmp_path.iterdir()) == [file]


def test_layers_count_from_one() -> None:
    mean, deviation = example().layer(2)
    assert mean.tolist() == list(range(8, 16))
    assert deviation.tolist() == [1.0] * 8


def test_thresholds_do_not_change_what_miners_committed_to() -> None:
    assert example(noise=None).digest == example().digest


def test_other_statistics_have_another_digest() -> None:
    other = Calibration(example().header, example().mean + 1e-3, example().deviation)
    assert other.digest != example().digest


@pytest.mark.parametrize("damage", [b"", b"short", b"\xff" * 64, b"\x08" + b"\x00" * 7 + b'{"a":1} '])
def test_a_damaged_file_is_refused(damage: bytes) -> None:
    with pytest.raises(ModelError, match="not a calibration file"):
        parse_calibration(damage)


def test_a_file_cut_short_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "c.safetensors"
    write_calibration(example(), file)
    with pytest.raises(ModelError):
        parse_calibration(file.read_bytes()[:-9])


def test_shapes_that_contradict_the_header_are_refused(tmp_path: Path) -> None:
    file = tmp_path / "c.safetensors"
    write_calibration(example(noise=None, num_layers=3), file)
    with pytest.raises(ModelError, match="shape"):
        read_calibration(file)


def test_scales_of_another_number_of_layers_are_refused(tmp_path: Path) -> None:
    file = tmp_path / "c.safetensors"
    write_calibration(example(noise=honest_noise(3)), file)
    with pytest.raises(ModelError, match="3 layers, not 2"):
        read_calibration(file)


def test_a_file_of_an_older_version_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "c.safetensors"
    write_calibration(example(), file)
    older = file.read_bytes().replace(b"calibration/2", b"calibration/1")
    assert older != file.read_bytes()
    with pytest.raises(ModelError, match="not a calibration file"):
        parse_calibration(older)


def test_statistics_that_are_not_finite_are_refused(tmp_path: Path) -> None:
    file = tmp_path / "c.safetensors"
    bad = example().mean.clone()
    bad[0, 0] = float("nan")
    write_calibration(Calibration(example().header, bad, example().deviation), file)
    with pytest.raises(ModelError, match="finite"):
        read_calibration(file)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="can't be read"):
        read_calibration(tmp_path / "none")


def test_the_file_in_the_models_folder_is_found(tmp_path: Path) -> None:
    write_calibration(example(), tmp_path / CALIBRATION_FILE)
    assert find_calibration(str(tmp_path), None) == tmp_path / CALIBRATION_FILE
    assert find_calibration(str(tmp_path), tmp_path / "other") == tmp_path / "other"


def test_where_there_is_none_the_message_says_how_to_get_one(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"validator\.calibrate"):
        find_calibration(str(tmp_path), None)
