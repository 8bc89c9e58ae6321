import subprocess
import sys
from pathlib import Path

import pytest

from shared.errors import ConfigError
from validator.audit_config import AuditConfig
from validator.audit_config import load_config as load_audit_config
from validator.watchtower_config import load_config as load_watchtower_config
from validator.watchtower_config import source_of

ROOT = Path(__file__).resolve().parents[2]
DOCUMENTED = "--port 8082 --model Qwen/Qwen2.5-7B-Instruct --wallet validator --hotkey default --netuid 97"


def load(arguments: str) -> AuditConfig:
    return load_audit_config(arguments.split(), {}, Path("/no/such/.env"))


def test_the_documented_command_is_understood() -> None:
    config = load(DOCUMENTED)
    assert (config.port, config.netuid, config.epoch_seconds) == (8082, 97, 1500)
    assert load("") == config


def test_folders_follow_the_state_folder() -> None:
    config = load("--state-dir /var/auditor")
    assert config.records_folder == Path("/var/auditor/records")
    assert config.store_location == "/var/auditor/store"
    assert load("--records /a --store s3://b/c").store_location == "s3://b/c"
    assert config.record_places == {"/var/auditor/records": "/var/auditor/records"}
    assert load("--records /a --store s3://b/c").record_places == {"/a": "/a"}


def test_records_can_come_from_several_places() -> None:
    places = load("--records /a,https://one.example/,http://two.example:8081").record_places
    assert list(places) == ["/a", "https://one.example", "http://two.example:8081"]


def test_an_auditor_has_a_name_of_its_own_among_several() -> None:
    assert load("--auditor-name left").name == "left"
    assert load("--port 1").name != load("--port 2").name


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ("--audit-rate 1", "unknown argument"),
        ("--metagraph-seconds 0", "1"),
        ("--points 3", "unknown argument"),
        ("--epoch-seconds 1", "from 5 to 86400"),
        ("--port 70000", "from 0 to 65535"),
        ("--nonsense", "unknown argument"),
    ],
)
def test_values_that_are_not_allowed_are_named(arguments: str, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        load(arguments)


def test_a_watchtower_needs_a_source() -> None:
    with pytest.raises(ConfigError, match="--source"):
        load_watchtower_config([], {}, Path("/no/such/.env"))
    assert source_of(load_watchtower_config(["--source", "/a"], {}, Path("/no/such/.env"))) == "/a"


def run(script: str, *arguments: str, cwd: Path = ROOT) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(ROOT / "validator" / script), *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, cwd=cwd, check=False)


@pytest.mark.parametrize("script", ["audit_validator.py", "watchtower.py"])
def test_help_is_answered_without_anything_heavy(script: str) -> None:
    probe = (
        "import runpy, sys\n"
        f"sys.argv = [{str(ROOT / 'validator' / script)!r}, '--help']\n"
        "try:\n    runpy.run_path(sys.argv[0], run_name='__main__')\n"
        "except SystemExit:\n    pass\n"
        "heavy = {'torch', 'transformers', 'bittensor', 'sqlalchemy', 'fastapi'} & sys.modules.keys()\n"
        "sys.exit(f'imported {heavy}' if heavy else 0)\n"
    )
    answer = subprocess.run(
        [sys.executable, "-c", probe], capture_output=True, text=True, timeout=60, check=False
    )
    assert answer.returncode == 0, answer.stderr
    assert "--netuid" in answer.stdout


def test_the_watchtower_imports_no_torch() -> None:
    probe = (
        "import sys, validator.watchtower_start\n"
        "heavy = {'torch', 'transformers', 'tokenizers', 'boto3', 'fastapi'} & sys.modules.keys()\n"
        "sys.exit(str(heavy) if heavy else 0)"
    )
    assert subprocess.run([sys.executable, "-c", probe], cwd=ROOT, timeout=60, check=False).returncode == 0


@pytest.mark.parametrize(
    ("script", "arguments", "words"),
    [
        ("audit_validator.py", ["--port", "many"], "it must be a whole number"),
        ("audit_validator.py", ["--network", "nowhere"], "there is no network 'nowhere'"),
        ("audit_validator.py", ["--network", "local", "--wallet-path", "/none"], "there is no hotkey at"),
        ("watchtower.py", ["--source", "/a", "--wallet-path", "/none"], "there is no hotkey at"),
        ("watchtower.py", [], "name where epochs are published"),
    ],
)
def test_a_mistake_is_one_sentence_and_status_2(
    tmp_path: Path, script: str, arguments: list[str], words: str
) -> None:
    answer = run(script, *arguments, cwd=tmp_path)
    assert answer.returncode == 2
    assert words in answer.stderr
    assert len(answer.stderr.splitlines()) == 1
