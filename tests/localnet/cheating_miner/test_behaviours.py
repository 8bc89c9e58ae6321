import subprocess
import sys

import pytest

from localnet.cheating_miner.behaviours import BEHAVIOURS, listing, read_cheat
from localnet.cheating_miner.construction import CHEATS
from localnet.config import PROJECT_ROOT
from localnet.roles import ROLES
from shared.errors import ConfigError


def test_every_behaviour_can_be_built_and_is_a_role() -> None:
    assert set(CHEATS) == set(BEHAVIOURS)
    assert {role.behaviour for role in ROLES.values()} - {None} == set(BEHAVIOURS)
    assert all(not ROLES[name].honest for name in BEHAVIOURS)


def test_the_cheat_is_taken_out_of_the_miners_flags() -> None:
    flags = ["--model", "m", "--cheat", "padded", "--enforce-eager"]
    assert read_cheat(flags) == ("padded", ["--model", "m", "--enforce-eager"])


@pytest.mark.parametrize("flags", [[], ["--cheat"], ["--cheat", "lazy"], ["--model", "padded"]])
def test_without_a_known_cheat_the_cure_is_named(flags: list[str]) -> None:
    with pytest.raises(ConfigError, match=r"--cheat.*padded"):
        read_cheat(flags)


def test_help_lists_the_cheats_and_the_miners_flags_without_heavy_imports() -> None:
    server = PROJECT_ROOT / "localnet" / "cheating_miner" / "server.py"
    program = (
        "import runpy, sys; sys.argv = [sys.argv[1], '--help']\n"
        "try:\n    runpy.run_path(sys.argv[0], run_name='__main__')\n"
        "except SystemExit:\n    print(sorted({'torch', 'vllm', 'transformers'} & set(sys.modules))); raise"
    )
    result = subprocess.run(
        [sys.executable, "-c", program, str(server)], capture_output=True, text=True, cwd="/", check=False
    )
    assert result.returncode == 0, result.stderr
    assert listing() in result.stdout
    assert "--wallet" in result.stdout
    assert result.stdout.rstrip().endswith("[]")


def test_the_package_runs_the_same_and_a_wrong_name_is_one_sentence() -> None:
    command = [sys.executable, "-m", "localnet.cheating_miner", "--cheat", "lazy"]
    result = subprocess.run(command, capture_output=True, text=True, cwd=PROJECT_ROOT, check=False)
    assert result.returncode == 2
    assert "--cheat is 'lazy'" in result.stderr
    assert "Traceback" not in result.stderr
