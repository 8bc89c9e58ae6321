"""Every fault that is planted in a healthy validator is found, named with its cure, and is found alone."""

import json
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from localnet.wallets import create_party
from shared.calibration import read_calibration, write_calibration
from shared.chain import Block, SubtensorChain
from shared.config import exit_on_config_error
from shared.diagnosis import Finding, as_json, as_text, in_words, run_doctor
from shared.diagnosis_http import HealthAnswer
from shared.diagnosis_machine import GIB, Gpu
from shared.object_store import FolderStore
from shared.wallets import load_wallet
from tests.shared.doctor_surroundings import PINNED, assert_found, the_only
from tests.validator.doctor_rig import Patient, healthy_validator
from validator import doctor
from validator.epoch_summary import LATEST_KEY


@pytest.fixture
async def patient(tmp_path: Path) -> AsyncIterator[Patient]:
    async with healthy_validator(tmp_path) as healthy:
        yield healthy


def answers(patient: Patient, **body: Any) -> Callable[[str, int], Awaitable[HealthAnswer]]:
    """An auditor of this hotkey that runs."""
    said = {"hotkey": patient.party.hotkey, "troubles": {}, "epoch": 7, "chain_lag_ms": 4000, **body}

    async def answer(host: str, port: int) -> HealthAnswer:
        return HealthAnswer(said)

    return answer


async def test_a_healthy_validator_has_no_complaint(patient: Patient) -> None:
    findings = await patient.examine()
    assert [one for one in findings if not one.well] == []
    assert {one.subject for one in findings} >= {
        *("versions", "wallet", "port", "disk", "model", "calibration", "memory", "records", "store"),
        *("chain", "clock", "subnet", "registration", "permit", "stake", "weights"),
    }


async def test_a_healthy_validator_that_runs_has_no_complaint(patient: Patient) -> None:
    patient.spoil(
        ask_health=answers(patient),
        port_taken_by=lambda host, port: "another program",
        available_memory_bytes=lambda: GIB // 2,
    )
    findings = await patient.examine()
    assert [one for one in findings if not one.well] == []
    assert "the auditor runs, in epoch 7" in [one.what for one in findings]


async def test_a_missing_hotkey_is_found(patient: Patient) -> None:
    patient.configure(hotkey="other")
    assert_found(the_only(await patient.complaints()), "wallet", "no hotkey", "hotkeys/other")


async def test_a_hotkey_that_everybody_can_read_is_found(patient: Patient) -> None:
    file = patient.config.wallet_path / "validator" / "hotkeys" / "default"
    file.chmod(0o644)
    assert_found(the_only(await patient.complaints()), "wallet", "everybody", f"chmod 600 {file}")


async def test_a_coldkey_beside_the_hotkey_is_noted(patient: Patient) -> None:
    (patient.config.wallet_path / "validator" / "coldkey").write_text("{}")
    findings = await patient.examine()
    assert any(one.grade == "note" and "coldkey" in one.what for one in findings)
    assert all(one.well for one in findings)


async def test_a_chain_out_of_reach_is_found(patient: Patient) -> None:
    await patient.chain.stop()
    assert_found(the_only(await patient.complaints()), "chain", "failed at ws://", "--network")
    patient.spoil(clock_is_synchronised=lambda: False)
    assert [one.subject for one in await patient.complaints()] == ["chain", "clock"]


async def test_a_network_that_does_not_exist_is_found(patient: Patient) -> None:
    patient.configure(network="finey")
    assert_found(the_only(await patient.complaints()), "chain", "there is no network 'finey'", "")


async def test_a_subnet_that_does_not_exist_is_found(patient: Patient) -> None:
    patient.configure(netuid=41)
    assert_found(the_only(await patient.complaints()), "subnet", "41", "--netuid")


async def test_a_chain_that_stands_still_is_found(patient: Patient) -> None:
    head = await newest_block(patient)

    async def nothing_happens(seconds: float) -> None:
        pass

    patient.spoil(sleep=nothing_happens, now_ms=lambda: head.timestamp_ms + 300_000)
    assert_found(the_only(await patient.complaints()), "chain", "300 s old", "date -u")


async def test_a_chain_whose_blocks_come_on_demand_is_only_noted(patient: Patient) -> None:
    async def nothing_happens(seconds: float) -> None:
        pass

    patient.spoil(sleep=nothing_happens)
    assert await patient.complaints() == []


@pytest.mark.parametrize(
    ("off_s", "words", "grade"),
    [
        (-20, "clock is slow", "bad"),
        (-5, "clock is slow", "warn"),
        (20, "is fast", "bad"),
        (10, "is fast", "warn"),
    ],
)
async def test_a_clock_that_is_wrong_is_found(patient: Patient, off_s: int, words: str, grade: str) -> None:
    true_time = patient.around.now_ms
    patient.spoil(now_ms=lambda: true_time() + off_s * 1000)
    complaint = the_only(await patient.complaints())
    assert_found(complaint, "clock", words, "timedatectl set-ntp true")
    assert complaint.grade == grade


async def test_a_clock_that_nothing_keeps_in_time_is_found(patient: Patient) -> None:
    patient.spoil(clock_is_synchronised=lambda: False)
    assert_found(the_only(await patient.complaints()), "clock", "does not keep", "timedatectl set-ntp true")


async def test_a_hotkey_without_a_uid_is_found(tmp_path: Path) -> None:
    async with healthy_validator(tmp_path, register=False) as patient:
        complaint = the_only(await patient.complaints())
    assert_found(complaint, "registration", "not registered on subnet 97", "btcli subnets register")


async def test_a_validator_without_permit_and_stake_is_found(tmp_path: Path) -> None:
    async with healthy_validator(tmp_path, permit=False) as patient:
        permit, stake = await patient.complaints()
    assert_found(permit, "permit", "no validator permit", "btcli stake add")
    assert_found(stake, "stake", "nothing is staked", "btcli stake add")


async def test_weights_that_are_overdue_are_found(patient: Patient) -> None:
    await set_weights(patient)
    assert await patient.complaints() == []
    await patient.chain.make_blocks(600)
    complaint = the_only(await patient.complaints())
    assert_found(complaint, "weights", "new ones were due", "Weights are not set")


async def test_a_port_that_another_program_holds_is_found(patient: Patient) -> None:
    patient.configure(port=8082)
    patient.spoil(port_taken_by=lambda host, port: "another program")
    assert_found(the_only(await patient.complaints()), "port", "taken by another program", "ss -ltnp")


async def test_an_auditor_of_another_hotkey_on_the_port_is_found(patient: Patient) -> None:
    patient.spoil(
        ask_health=answers(patient, hotkey="5F"), port_taken_by=lambda host, port: "another program"
    )
    assert_found(
        the_only(await patient.complaints()), "port", "it is not this process, or it hangs", "--port"
    )


async def test_a_full_disk_is_found(patient: Patient) -> None:
    patient.spoil(free_disk_bytes=lambda folder: GIB // 2)
    complaint = the_only(await patient.complaints())
    assert_found(complaint, "disk", "nearly full", "--state-dir")
    assert complaint.grade == "bad"


async def test_little_room_is_a_warning(patient: Patient) -> None:
    patient.spoil(free_disk_bytes=lambda folder: 3 * GIB)
    assert the_only(await patient.complaints()).grade == "warn"


async def test_a_state_folder_that_cannot_be_written_is_found(patient: Patient) -> None:
    patient.spoil(is_writable=lambda folder: False)
    assert_found(the_only(await patient.complaints()), "disk", "can't be written", "chown")


async def test_too_little_memory_for_the_reference_is_found(patient: Patient) -> None:
    patient.spoil(available_memory_bytes=lambda: GIB)
    assert_found(the_only(await patient.complaints()), "memory", "the reference model on cpu", "more memory")


async def test_a_gpu_that_torch_does_not_see_is_found(patient: Patient) -> None:
    patient.configure(device="cuda")
    assert_found(the_only(await patient.complaints()), "gpu", "torch sees no GPU", "nvidia-smi")


async def test_a_gpu_without_room_is_found_and_one_with_room_is_not(patient: Patient) -> None:
    patient.configure(device="cuda:1")
    cards = [Gpu("A", 80 * GIB, 80 * GIB), Gpu("B", GIB, 80 * GIB)]
    patient.spoil(visible_gpus=lambda: cards)
    assert_found(the_only(await patient.complaints()), "gpu", "B has 1.0 GiB free", "nvidia-smi")
    patient.configure(device="cuda:0")
    assert await patient.complaints() == []


async def test_a_model_that_is_not_here_is_found_and_not_fetched(patient: Patient) -> None:
    patient.configure(model="some-body/some-model")
    assert_found(the_only(await patient.complaints()), "model", "some-body/some-model", "hf download")


async def test_a_missing_calibration_file_is_found(patient: Patient, tmp_path: Path) -> None:
    patient.configure(calibration=str(tmp_path / "none"))
    assert_found(
        the_only(await patient.complaints()), "calibration", "can't be read", "--calibration FILE|URL"
    )


async def test_a_calibration_of_another_model_is_found(patient: Patient, tmp_path: Path) -> None:
    patient.configure(calibration=changed_calibration(patient, tmp_path, model_digest="ab" * 32))
    assert_found(the_only(await patient.complaints()), "calibration", "abababab", "of the network's revision")


async def test_other_sampling_defaults_than_the_networks_are_found(patient: Patient, tmp_path: Path) -> None:
    patient.configure(calibration=changed_calibration(patient, tmp_path, generation_digest="ab" * 32))
    assert_found(
        the_only(await patient.complaints()),
        "generation",
        "other sampling defaults",
        "generation_config.json",
    )


async def test_a_calibration_that_is_not_finished_is_found(patient: Patient, tmp_path: Path) -> None:
    patient.configure(calibration=changed_calibration(patient, tmp_path, noise=None))
    assert_found(the_only(await patient.complaints()), "calibration", "no honest noise", "--stage noise")


async def test_a_missing_record_log_is_found(patient: Patient, tmp_path: Path) -> None:
    patient.configure(records=(str(tmp_path / "elsewhere"),))
    assert_found(the_only(await patient.complaints()), "records", "no record log", "--state-dir")


async def test_a_record_log_without_records_is_found(patient: Patient, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    patient.configure(records=(str(tmp_path / "empty"),))
    assert_found(the_only(await patient.complaints()), "records", "holds no record", "start the gateway")


async def test_records_of_a_gateway_are_left_to_the_auditor(patient: Patient) -> None:
    patient.configure(records=("https://gateway.example.org",))
    assert not await patient.complaints()


async def test_a_store_out_of_reach_is_found(patient: Patient, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "x")
    patient.configure(store="s3://bucket/epochs", store_endpoint="http://127.0.0.1:1")
    assert_found(the_only(await patient.complaints()), "store", "s3://bucket", "validator.publish check")


async def test_a_store_with_damaged_epochs_is_found(patient: Patient) -> None:
    FolderStore(Path(patient.config.store_location)).put(LATEST_KEY, b"{}")
    complaint = the_only(await patient.complaints())
    assert_found(complaint, "store", "can't go on from", "--store")


async def test_other_versions_than_the_pinned_ones_are_found(patient: Patient) -> None:
    patient.spoil(installed_version={**PINNED, "bittensor": "10.0.0"}.get)
    assert_found(
        the_only(await patient.complaints()), "versions", "is 10.0.0, tested is 11.3.0", "pip install"
    )


async def test_a_library_that_is_missing_is_found(patient: Patient) -> None:
    patient.spoil(installed_version={**PINNED, "torch": None}.get)
    assert_found(the_only(await patient.complaints()), "versions", "torch is not installed", "pip install -r")


async def test_what_the_running_auditor_complains_of_is_found(patient: Patient) -> None:
    patient.spoil(
        ask_health=answers(patient, troubles={"publication": "the bucket refuses"}, chain_lag_ms=999_000)
    )
    trouble, lag = await patient.complaints()
    assert_found(trouble, "process", "publication: the bucket refuses", "docs/RUNBOOKS.md")
    assert_found(lag, "process", "999 s old", "The chain is stuck or away")


async def test_a_check_that_fails_hides_no_other(patient: Patient) -> None:
    def broken(folder: Path) -> int:
        raise PermissionError(13, "Permission denied", str(folder))

    patient.spoil(free_disk_bytes=broken, clock_is_synchronised=lambda: False)
    disk, clock = await patient.complaints()
    assert_found(disk, "disk", "Permission denied", "run the doctor again")
    assert clock.subject == "clock"


def test_text_and_json_say_the_same_and_the_status_follows(capsys: pytest.CaptureFixture[str]) -> None:
    fine, broken = Finding("disk", "ok", "room"), Finding("clock", "bad", "is slow", "set it")

    async def section() -> list[Finding]:
        return [fine, broken]

    assert run_doctor({"both": section}, json_output=True) == 1
    said = json.loads(capsys.readouterr().out)
    assert said["well"] is False
    assert said["findings"][1] == {"subject": "clock", "grade": "bad", "what": "is slow", "cure": "set it"}
    assert run_doctor({"both": section}, json_output=False) == 1
    assert "→ set it" in capsys.readouterr().out
    assert json.loads(as_json([fine]))["well"] is True
    assert in_words([fine]) == "all well: 1 checks"
    assert "→" not in as_text(fine)
    assert logging.root.manager.disable == logging.NOTSET, "logging goes on afterwards"


def test_a_wrong_flag_gives_status_2(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        exit_on_config_error(lambda: doctor.main(["--port", "x"]))
    assert ended.value.code == 2
    assert "--port" in capsys.readouterr().err


def test_the_doctor_takes_every_flag_of_the_auditor(tmp_path: Path) -> None:
    config = doctor.load_config(["--epoch-seconds", "60", "--json"], {}, tmp_path / ".env")
    assert (config.epoch_seconds, config.json) == (60.0, True)


async def set_weights(patient: Patient) -> None:
    """Bring weights of this validator onto the chain."""
    miner = await patient.chain.register(create_party("miner", patient.config.wallet_path))
    wallet = load_wallet("validator", "default", patient.config.wallet_path)
    chain = SubtensorChain(patient.chain.url, 97, wallet)
    await patient.chain.make_blocks(200)
    await chain.set_weights({miner: 65535})
    await chain.close()


async def newest_block(patient: Patient) -> Block:
    chain = SubtensorChain(patient.chain.url, 97)
    head = await chain.head()
    await chain.close()
    return head


def changed_calibration(patient: Patient, folder: Path, **header: Any) -> str:
    """The calibration with other words in its header."""
    true = read_calibration(Path(str(patient.config.calibration)))
    file = folder / "changed.calibration"
    write_calibration(replace(true, header=true.header.model_copy(update=header)), file)
    return str(file)
