"""Every fault that is planted in a healthy gateway is found, named with its cure, and is found alone."""

from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from gateway import doctor
from gateway.doctor import DoctorConfig
from gateway.doctor_sections import GatewayDoctor
from localnet.wallets import Party, create_party
from shared.calibration import write_calibration
from shared.config import exit_on_config_error
from shared.diagnosis import Finding, examine
from shared.diagnosis_http import HealthAnswer
from shared.diagnosis_machine import GIB
from shared.diagnosis_surroundings import Surroundings
from tests.miners.local_chain import LocalChain, local_chain
from tests.miners.tiny_calibration import tiny_calibration
from tests.models import tiny_model
from tests.shared.doctor_surroundings import PINNED, assert_found, surroundings, the_only

HEALTHY = {"reasons": [], "miners_known": 4, "miners_callable": 3, "metagraph_age_s": 12.0}
LIBRARIES = {**PINNED, "tokenizers": "0.23.3", "uvloop": "0.23.0", "orjson": "3.13.0"}


@dataclass
class Patient:
    """A gateway's settings and surroundings, to be spoiled."""

    config: DoctorConfig
    around: Surroundings
    chain: LocalChain
    party: Party

    def say(self, **body: Any) -> None:
        """What the running gateway says of itself."""
        said = {**HEALTHY, "hotkey": self.party.hotkey, **body}

        async def answer(host: str, port: int) -> HealthAnswer:
            return HealthAnswer(said)

        self.around = replace(
            self.around, ask_health=answer, port_taken_by=lambda host, port: "another program"
        )

    async def complaints(self) -> list[Finding]:
        found = await examine(GatewayDoctor(self.config, self.around).sections(), lambda finding: None)
        return [one for one in found if not one.well]


@pytest.fixture(scope="module")
def calibration(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("calibration") / "tiny.calibration"
    write_calibration(tiny_calibration(tiny_model()), file)
    return file


@pytest.fixture
async def patient(tmp_path: Path, calibration: Path) -> AsyncIterator[Patient]:
    party = create_party("validator", tmp_path)
    async with local_chain() as chain:
        await chain.register(party, permit=True)
        config = DoctorConfig(
            model=str(tiny_model()),
            calibration=str(calibration),
            network=chain.url,
            discover=True,
            wallet_path=tmp_path,
            state_dir=tmp_path / "state",
        )
        around = replace(await surroundings(chain), installed_version=LIBRARIES.get)
        yield Patient(config, around, chain, party)


async def test_a_healthy_gateway_has_no_complaint_whether_it_runs_or_not(patient: Patient) -> None:
    assert await patient.complaints() == []
    patient.say()
    assert await patient.complaints() == []


async def test_why_a_running_gateway_does_not_serve_is_told(patient: Patient) -> None:
    patient.say(reasons=["none of the 4 miners on the list can be called"])
    assert_found(
        the_only(await patient.complaints()), "process", "none of the 4 miners", "The gateway answers 503"
    )


async def test_an_old_list_of_miners_is_found(patient: Patient) -> None:
    patient.say(metagraph_age_s=900.0, metagraph_error="no route")
    assert_found(the_only(await patient.complaints()), "process", "900 s old: no route", "The chain is stuck")


async def test_a_port_that_another_program_holds_is_found(patient: Patient) -> None:
    patient.around = replace(patient.around, port_taken_by=lambda host, port: "another program")
    assert_found(the_only(await patient.complaints()), "port", "taken by another program", "ss -ltnp")


async def test_a_gateway_that_listens_on_loopback_is_a_warning(patient: Patient) -> None:
    patient.config = replace(patient.config, host="127.0.0.1")
    assert_found(the_only(await patient.complaints()), "port", "clients can't reach it", "--host 0.0.0.0")


async def test_a_full_disk_is_found(patient: Patient) -> None:
    patient.around = replace(patient.around, free_disk_bytes=lambda folder: GIB // 4)
    assert_found(the_only(await patient.complaints()), "disk", "nearly full", "--state-dir")


async def test_a_missing_calibration_file_is_found(patient: Patient, tmp_path: Path) -> None:
    patient.config = replace(patient.config, calibration=str(tmp_path / "none"))
    assert_found(the_only(await patient.complaints()), "calibration", "can't be read", "--calibration FILE")


async def test_a_model_folder_without_a_tokenizer_is_found(patient: Patient, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    patient.config = replace(patient.config, model=str(tmp_path / "empty"))
    assert_found(
        the_only(await patient.complaints()), "model", "lacks config.json and tokenizer.json", "hf download"
    )


async def test_a_gateway_without_a_permit_is_found(patient: Patient, tmp_path: Path) -> None:
    other = create_party("other", tmp_path)
    await patient.chain.register(other)
    patient.config = replace(patient.config, wallet="other")
    assert_found(the_only(await patient.complaints()), "permit", "miners refuse", "btcli stake add")


async def test_a_chain_out_of_reach_is_found(patient: Patient) -> None:
    await patient.chain.stop()
    assert_found(the_only(await patient.complaints()), "chain", "failed at ws://", "--network")


async def test_a_slow_clock_is_found(patient: Patient) -> None:
    true_time = patient.around.now_ms
    patient.around = replace(patient.around, now_ms=lambda: true_time() - 30_000)
    assert_found(the_only(await patient.complaints()), "clock", "clock is slow", "timedatectl")


async def test_a_library_that_is_missing_is_found(patient: Patient) -> None:
    patient.around = replace(patient.around, installed_version={**LIBRARIES, "uvloop": None}.get)
    assert_found(
        the_only(await patient.complaints()), "versions", "uvloop is not installed", "pip install -r"
    )


async def test_a_hotkey_that_everybody_can_read_is_found(patient: Patient, tmp_path: Path) -> None:
    (tmp_path / "validator" / "hotkeys" / "default").chmod(0o604)
    assert_found(the_only(await patient.complaints()), "wallet", "everybody", "chmod 600")


def test_what_the_gateway_refuses_at_start_gives_status_2(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        exit_on_config_error(lambda: doctor.main(["--port", "8081"]))
    assert ended.value.code == 2
    assert "--discover" in capsys.readouterr().err
