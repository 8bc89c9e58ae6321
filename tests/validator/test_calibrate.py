import asyncio
import json
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from localnet.config import PROJECT_ROOT
from localnet.wallets import create_party
from shared.calibration import read_calibration, write_calibration
from shared.calibration_header import CALIBRATION_FILE
from shared.canonical import sha256_hex
from shared.errors import ConfigError, ModelError
from shared.records import RequestRecord
from tests.models import TINY_MODEL
from tests.shared.keys import MINER
from tests.validator.example_calibration import bare_calibration
from tests.validator.example_miner import ExampleMiner
from tests.validator.scripted_http import SeenRequest, response, scripted_server
from tests.validator.test_calibration_noise import served
from validator import calibration_requests
from validator.calibrate import TERMINATED
from validator.calibration_config import CalibrateConfig, check_config
from validator.calibration_run import VERSION_PATH, calibrate, measure_noise
from validator.evidence import FAIL_P_VALUE

HEAVY = ("torch", "transformers", "bittensor", "vllm", "numpy")


def run(*flags: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "validator.calibrate", *flags]
    return subprocess.run(command, cwd=PROJECT_ROOT, capture_output=True, text=True, check=False)


def test_help_names_every_flag_and_loads_nothing_heavy() -> None:
    helped = run("--help")
    assert helped.returncode == 0
    for flag in ("--model", "--out", "--stage", "--requests", "--miner", "--miner-hotkey"):
        assert flag in helped.stdout
    probe = f"import sys, validator.calibrate; print([m for m in {HEAVY!r} if m in sys.modules])"
    loaded = subprocess.run(
        [sys.executable, "-c", probe], cwd=PROJECT_ROOT, capture_output=True, text=True, check=True
    )
    assert loaded.stdout.strip() == "[]"


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--stage", "both"], "it must be one of all, statistics, noise"),
        (["--requests", "3"], "at least 32"),
        (["--miner", "127.0.0.1:1"], "--miner-hotkey"),
        (["--dtype", "int8"], "float32, bfloat16, float16"),
    ],
)
def test_a_mistake_in_the_flags_is_one_sentence_and_status_2(flags: list[str], words: str) -> None:
    refused = run(*flags)
    assert refused.returncode == 2
    assert words in refused.stderr
    assert len(refused.stderr.strip().splitlines()) == 1


def test_a_miner_needs_its_hotkey_and_the_other_way_round() -> None:
    check_config(CalibrateConfig())
    for config in (CalibrateConfig(miner="127.0.0.1:1"), CalibrateConfig(miner_hotkey=MINER.ss58_address)):
        with pytest.raises(ConfigError, match="together"):
            check_config(config)


def test_a_missing_model_is_one_sentence_and_status_1(tmp_path: Path) -> None:
    failed = run("--model", str(tmp_path / "none"), "--stage", "statistics")
    assert failed.returncode == 1
    assert failed.stderr.strip().splitlines()[-1].startswith("error: ")


def test_statistics_alone_are_what_a_miner_needs(tiny_model_folder: Path, tmp_path: Path) -> None:
    file = tmp_path / CALIBRATION_FILE
    calibrate(CalibrateConfig(model=str(tiny_model_folder), out=file, stage="statistics"))
    calibration = read_calibration(file)
    assert calibration.header.model == TINY_MODEL
    assert (calibration.header.num_layers, calibration.header.hidden_size) == (4, 256)
    assert calibration.header.statistics_tokens > 5000
    assert calibration.header.noise is None


@asynccontextmanager
async def miner_server(miner: ExampleMiner) -> AsyncIterator[str]:
    """The example miner over HTTP; "ip:port"."""
    records: list[RequestRecord] = []

    async def script(seen: SeenRequest, writer: asyncio.StreamWriter) -> None:
        if seen.target == VERSION_PATH:
            writer.write(response(200, json.dumps({"version": "0.0"}).encode()))
        else:
            writer.write(response(200, served(miner, seen, records)))

    async with scripted_server(script) as server:
        yield server.axon


async def test_the_noise_stage_completes_the_file_and_keeps_its_digest(
    tiny_model_folder: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(calibration_requests, "OUTPUT_TOKENS", (1, 4, 12))
    file = tmp_path / CALIBRATION_FILE
    write_calibration(bare_calibration(), file)
    create_party("validator", tmp_path)
    async with miner_server(ExampleMiner(bare_calibration())) as axon:
        config = CalibrateConfig(
            model=str(tiny_model_folder),
            out=file,
            stage="noise",
            requests=32,
            miner=axon,
            miner_hotkey=MINER.ss58_address,
            wallet_path=tmp_path,
        )
        await measure_noise(config, file)
    calibration = read_calibration(file)
    assert calibration.digest == bare_calibration().digest
    noise = calibration.header.noise
    assert noise is not None
    [report] = noise.conditions
    assert (report.condition, report.engine) == ("given", "vLLM 0.0")
    assert noise.fitted_requests + report.held_out_requests == 32
    assert report.false_alarms == 0
    told = capsys.readouterr().out
    assert f"audits fail above {noise.typical.score_at(FAIL_P_VALUE):.3g}" in told
    assert "given: noise: 32 of 32 requests" in told
    assert "0 false alarms" in told


async def test_a_failed_noise_stage_leaves_the_file_as_it_was(
    tiny_model_folder: Path, tmp_path: Path
) -> None:
    file = tmp_path / CALIBRATION_FILE
    write_calibration(bare_calibration(), file)
    before = sha256_hex(file.read_bytes())
    create_party("validator", tmp_path)
    config = CalibrateConfig(
        model=str(tiny_model_folder),
        out=file,
        stage="noise",
        miner="127.0.0.1:1",
        miner_hotkey=MINER.ss58_address,
        wallet_path=tmp_path,
    )
    with pytest.raises(ModelError, match="did not answer"):
        await measure_noise(config, file)
    assert sha256_hex(file.read_bytes()) == before


def children_of(process: int) -> list[int]:
    """Process ids of the direct children, from /proc."""
    tasks = Path(f"/proc/{process}/task")
    texts = [file.read_text() for file in tasks.glob("*/children")]
    return [int(child) for text in texts for child in text.split()]


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="reads /proc")
def test_what_was_started_ends_when_the_calibration_is_asked_to_end(
    tiny_model_folder: Path, tmp_path: Path
) -> None:
    file = tmp_path / CALIBRATION_FILE
    write_calibration(bare_calibration(), file)
    command = [sys.executable, "-m", "validator.calibrate", "--stage", "noise", "--out", str(file)]
    process = subprocess.Popen(
        [*command, "--model", str(tiny_model_folder)],
        cwd=PROJECT_ROOT,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert "starting a development chain" in process.stdout.readline()
    while not (started := children_of(process.pid)):
        assert process.poll() is None
    process.send_signal(signal.SIGTERM)
    assert process.wait() == TERMINATED
    for child in started:
        with pytest.raises(ProcessLookupError):
            os.kill(child, 0)


@pytest.mark.vllm
def test_without_a_miner_everything_is_started(tiny_model_folder: Path, tmp_path: Path) -> None:
    file = tmp_path / CALIBRATION_FILE
    done = run(
        *("--model", str(tiny_model_folder), "--out", str(file)),
        *("--requests", "32", "--conditions", "eager"),
    )
    assert done.returncode == 0, done.stderr + (tmp_path / "calibrate-eager.log").read_text()[-3000:]
    noise = read_calibration(file).header.noise
    assert noise is not None
    [report] = noise.conditions
    assert report.engine.startswith("vLLM ")
    assert report.condition == "eager"
