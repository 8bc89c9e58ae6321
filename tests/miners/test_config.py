import os
import subprocess
import sys
from pathlib import Path

import pytest

from localnet.config import PROJECT_ROOT
from miners.config import MinerConfig, load_config, plugins_with_ours
from shared.errors import ConfigError
from tests.shared.keys import VALIDATOR

NO_FILE = Path("/nonexistent/.env")


def load(*argv: str) -> tuple[MinerConfig, list[str]]:
    return load_config(argv, {}, NO_FILE)


def test_the_documented_command_line_is_understood() -> None:
    config, passed_on = load(
        *("--model", "Qwen/Qwen2.5-7B-Instruct", "--port", "8091"),
        *("--gpu-memory-utilization", "0.70", "--hf-device", "cpu"),
    )
    assert config.model == "Qwen/Qwen2.5-7B-Instruct"
    assert (config.port, config.gpu_memory_utilization, config.hf_device) == (8091, 0.7, "cpu")
    assert (config.wallet, config.hotkey, config.netuid, config.network) == ("miner", "default", 97, "finney")
    assert config.challenge_window_seconds == 7800
    assert passed_on == []


def test_flags_of_vllm_are_passed_on_in_their_order() -> None:
    _, passed_on = load("--model", "m", "--enforce-eager", "--port", "1", "--max-num-seqs", "16")
    assert passed_on == ["--enforce-eager", "--max-num-seqs", "16"]


@pytest.mark.parametrize(
    ("flag", "value", "words"),
    [
        ("--port", "70000", "port"),
        ("--axon-ip", "example.com:80", "without a port"),
        ("--hf-device", "cuda:1", "cpu, auto"),
        ("--gpu-memory-utilization", "1.5", "0.01 to 1"),
        ("--challenge-window-seconds", "1", "at least 60"),
        ("--allow-hotkeys", "not-an-address", "ss58"),
        ("--netuid", "-1", "0 to 65535"),
    ],
)
def test_values_that_are_not_allowed_are_refused(flag: str, value: str, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        load("--model", "m", flag, value)


def test_listed_hotkeys_are_separated_by_commas() -> None:
    config, _ = load("--model", "m", "--allow-hotkeys", f"{VALIDATOR.ss58_address}, {VALIDATOR.ss58_address}")
    assert config.allow_hotkeys == (VALIDATOR.ss58_address,) * 2


def test_an_operators_plugins_are_kept_beside_ours() -> None:
    assert plugins_with_ours("") == "constantinople_capture,constantinople"
    assert plugins_with_ours("other,constantinople") == "constantinople_capture,constantinople,other"


def test_help_and_settings_import_nothing_heavy(tmp_path: Path) -> None:
    program = f"""
import runpy, sys
sys.argv = ["vllm_miner.py", "--help"]
try:
    runpy.run_path({str(PROJECT_ROOT / "miners" / "vllm_miner.py")!r}, run_name="__main__")
except SystemExit as end:
    assert end.code == 0
heavy = {{"torch", "vllm", "transformers", "bittensor", "fastapi", "pydantic"}} & set(sys.modules)
assert not heavy, heavy
"""
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "--challenge-window-seconds" in done.stdout


def test_a_wrong_flag_ends_with_status_2_and_one_sentence(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, str(PROJECT_ROOT / "miners" / "vllm_miner.py"), "--model", "m", "--port", "many"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
        env={k: v for k, v in os.environ.items() if not k.startswith("CONSTANTINOPLE_")},
    )
    assert done.returncode == 2
    assert done.stderr.startswith("error: the flag --port is 'many'")
    assert "Traceback" not in done.stderr
