"""The auditor's calibration file: from disk or a gateway, and for the model that it audits with."""

import asyncio
from dataclasses import replace
from pathlib import Path

import pytest

from shared.calibration import Calibration, write_calibration
from shared.calibration_header import offer_of
from shared.canonical import sha256_hex
from shared.errors import ModelError
from tests.models import tiny_model
from tests.shared.test_calibration_source import gateway, serving
from tests.validator.example_calibration import bare_calibration
from validator.audit_config import AuditConfig
from validator.reference_audits import audit_calibration


def config(tmp_path: Path, named: str) -> AuditConfig:
    return AuditConfig(model=str(tiny_model()), calibration=named, state_dir=tmp_path / "state")


def changed(**header: str) -> Calibration:
    bare = bare_calibration()
    return replace(bare, header=bare.header.model_copy(update=header))


def file_of(calibration: Calibration, tmp_path: Path) -> Path:
    file = tmp_path / "c.calibration"
    write_calibration(calibration, file)
    return file


@pytest.fixture
def others() -> dict[str, Calibration]:
    digest = sha256_hex(b"another")
    return {"weights": changed(model_digest=digest), "defaults": changed(generation_digest=digest)}


def test_a_file_on_disk_is_read(tmp_path: Path) -> None:
    file = file_of(bare_calibration(), tmp_path)
    found, calibration = audit_calibration(config(tmp_path, str(file)))
    assert (found, calibration.digest) == (file, bare_calibration().digest)


async def test_a_gateways_file_is_fetched_and_read(tmp_path: Path) -> None:
    data = file_of(bare_calibration(), tmp_path).read_bytes()
    async with serving(gateway(offer_of(data), data), tmp_path) as served:
        found, calibration = await asyncio.to_thread(audit_calibration, config(tmp_path, served.url))
    assert found.read_bytes() == data
    assert found.is_relative_to(tmp_path / "state")
    assert calibration.digest == bare_calibration().digest


@pytest.mark.parametrize(("which", "words"), [("weights", "is for"), ("defaults", "other sampling defaults")])
async def test_a_gateway_of_another_model_is_refused(
    which: str, words: str, others: dict[str, Calibration], tmp_path: Path
) -> None:
    data = file_of(others[which], tmp_path).read_bytes()
    async with serving(gateway(offer_of(data), data), tmp_path) as served:
        with pytest.raises(ModelError, match=words):
            await asyncio.to_thread(audit_calibration, config(tmp_path, served.url))


def test_an_auditor_with_other_sampling_defaults_would_fail_honest_miners_and_does_not_start(
    others: dict[str, Calibration], tmp_path: Path
) -> None:
    with pytest.raises(ModelError, match=r"generation_config\.json"):
        audit_calibration(config(tmp_path, str(file_of(others["defaults"], tmp_path))))
