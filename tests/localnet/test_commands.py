import dataclasses
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from gateway import config as gateway_config
from localnet import commands
from localnet.config import PROJECT_ROOT, LocalnetConfig
from localnet.errors import LocalnetError
from localnet.free_ports import with_ports_chosen
from localnet.roles import Role, role_named
from validator import audit_config, watchtower_config

NO_FILE = Path("/nowhere/.env")
UP_WITH_ONE_MINER = [sys.executable, "-m", "localnet", "up", "--miners", "honest"]
CONFIG = LocalnetConfig(folder=Path("/somewhere"), miners=("honest", "int4", "honest"))


def flag(command: list[str], name: str) -> str:
    return command[command.index(name) + 1]


def miner_command(number: int, role: str) -> list[str]:
    return commands.miner_command(CONFIG, number, role_named(role), Path("/m"), Path("/c"))


def test_every_port_has_an_owner_and_none_is_used_twice() -> None:
    assert len(CONFIG.ports()) == 6


def test_miners_get_ports_and_wallets_of_their_own() -> None:
    first, second = (miner_command(number, "honest") for number in (1, 2))
    assert flag(first, "--port") != flag(second, "--port")
    assert flag(first, "--wallet") != flag(second, "--wallet")
    assert flag(first, "--state-dir") != flag(second, "--state-dir")


def test_honest_miners_and_those_with_cheap_weights_run_the_stock_miner() -> None:
    assert miner_command(1, "honest") == miner_command(1, "int8")
    assert "vllm_miner.py" in miner_command(1, "int8")[1]


def test_a_cheat_by_behaviour_runs_the_cheating_miner_with_the_stock_miners_flags() -> None:
    role = Role("sly", False, "answers slyly", behaviour="slyness")
    cheating = commands.miner_command(CONFIG, 1, role, Path("/m"), Path("/c"))
    assert cheating[1:5] == ["-m", "localnet.cheating_miner", "--cheat", "slyness"]
    assert cheating[5:] == miner_command(1, "honest")[2:]


def test_the_auditor_sends_requests_of_its_own_through_the_gateway_that_runs_with_its_hotkey() -> None:
    auditor = commands.auditor_command(CONFIG, Path("/m"), Path("/c"))
    gateway = commands.gateway_command(CONFIG, Path("/m"), Path("/c"))
    assert flag(auditor, "--gateway") == f"http://127.0.0.1:{flag(gateway, '--port')}"
    assert (flag(auditor, "--wallet"), flag(auditor, "--hotkey")) == (
        flag(gateway, "--wallet"),
        flag(gateway, "--hotkey"),
    ), "a gateway lets its own hotkey choose miners without being told"
    assert flag(auditor, "--state-dir") == flag(gateway, "--state-dir"), "there the record log is read"


def test_the_flags_of_gateway_and_watchtower_are_theirs() -> None:
    gateway = gateway_config.load_config(
        commands.gateway_command(CONFIG, Path("/m"), Path("/c"))[2:], {}, NO_FILE
    )
    assert gateway.calibration == "/c"
    auditor = audit_config.load_config(
        commands.auditor_command(CONFIG, Path("/m"), Path("/c"))[2:], {}, NO_FILE
    )
    assert gateway.store == auditor.store_location, "so that clients can ask what audits found"
    assert gateway.anonymous
    assert gateway.anonymous_requests_per_minute == gateway.anonymous_tokens_per_minute == 0, "on one's own"
    watchtower = commands.watchtower_command(CONFIG, "5Publisher", Path("/c"))
    assert watchtower_config.load_config(watchtower[2:], {}, NO_FILE).calibration == "/c"


def test_the_flags_of_the_auditor_are_its_own() -> None:
    command = commands.auditor_command(CONFIG, Path("/m"), Path("/c"))
    config = audit_config.load_config(command[2:], {}, NO_FILE)
    assert config.gateway == CONFIG.gateway_url
    assert 2 * config.synthetic_requests < CONFIG.requests / len(CONFIG.miners), (
        "clients leave it nothing to do"
    )


def several(monkeypatch: pytest.MonkeyPatch) -> LocalnetConfig:
    monkeypatch.setattr(commands, "programs", lambda: Path("/programs"))
    return LocalnetConfig(folder=Path("/somewhere"), gateways=2, auditors=2)


def test_one_of_each_shares_nothing_and_needs_no_database() -> None:
    assert commands.database(CONFIG) is None
    commands_of_one = [
        *commands.auditor_command(CONFIG, Path("/m"), Path("/c")),
        *commands.gateway_command(CONFIG, Path("/m"), Path("/c")),
    ]
    assert not {"--database", "--keys-database", "--records", "--auditor-name"} & set(commands_of_one)


def test_several_share_a_database_and_a_store_and_have_folders_and_ports_of_their_own(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    config = several(monkeypatch)
    gateways = [commands.gateway_command(config, Path("/m"), Path("/c"), number) for number in (1, 2)]
    auditors = [commands.auditor_command(config, Path("/m"), Path("/c"), number) for number in (1, 2)]
    for name in ("--port", "--state-dir"):
        assert flag(gateways[0], name) != flag(gateways[1], name)
        assert flag(auditors[0], name) != flag(auditors[1], name)
    assert flag(auditors[0], "--auditor-name") != flag(auditors[1], "--auditor-name")
    urls = {flag(one, "--keys-database") for one in gateways} | {flag(one, "--database") for one in auditors}
    assert len(urls) == 1
    assert urls.pop().startswith("postgresql+psycopg://")
    for auditor in auditors:
        read = audit_config.load_config(auditor[2:], {}, NO_FILE)
        assert list(read.record_places) == [f"http://127.0.0.1:{flag(one, '--port')}" for one in gateways]
        assert flag(auditor, "--store") == flag(gateways[0], "--store") == flag(gateways[1], "--store")
        assert flag(auditor, "--hotkey") == flag(gateways[0], "--hotkey")
    assert len(config.ports()) == 8
    assert len(with_ports_chosen(dataclasses.replace(config, port=0, auditor_port=0)).ports()) == 8


def test_without_postgresql_several_are_refused_with_the_cure(monkeypatch: pytest.MonkeyPatch) -> None:
    config = several(monkeypatch)
    monkeypatch.setattr(commands, "programs", lambda: None)
    with pytest.raises(LocalnetError, match="apt-get install postgresql"):
        commands.database(config)


def test_engines_are_spread_over_the_cores() -> None:
    variables = [commands.miner_environment(CONFIG, number, [4, 5]) for number in (1, 2, 3)]
    assert [v["VLLM_CPU_OMP_THREADS_BIND"] for v in variables] == ["4", "5", "4"]


def test_a_miner_alone_gets_every_core() -> None:
    alone = LocalnetConfig(miners=("honest",))
    assert commands.miner_environment(alone, 1, [0, 1])["VLLM_CPU_OMP_THREADS_BIND"] == "0,1"


def test_the_callers_own_settings_do_not_reach_the_children(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CONSTANTINOPLE_PORT", "1")
    monkeypatch.setenv("KEPT", "yes")
    environment = commands.base_environment(CONFIG)
    assert "CONSTANTINOPLE_PORT" not in environment
    assert environment["KEPT"] == "yes"


def test_ports_of_zero_become_free_ones_in_a_row() -> None:
    asked = LocalnetConfig(port=0, auditor_port=0, chain_port=0, miner_port=0)
    chosen = with_ports_chosen(asked)
    assert len(chosen.ports()) == 6
    for port in chosen.ports():
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", port))


def test_ports_that_were_named_are_left_alone() -> None:
    assert with_ports_chosen(CONFIG) == CONFIG


def test_an_unknown_role_is_refused_with_the_list_of_roles() -> None:
    with pytest.raises(LocalnetError, match="honest"):
        role_named("lazy")


@pytest.mark.parametrize(
    ("argv", "status", "words"),
    [
        (["up", "--help"], 0, "--epoch-seconds"),
        (["roles"], 0, "layer-dropped"),
        (["--help"], 0, "usage"),
        ([], 2, "usage"),
        (["down"], 2, "usage"),
        (["up", "--epochs", "many"], 2, "--epochs"),
        (["up", "--epoch-seconds", "1"], 2, "at least 10"),
        (["up", "--nonsense"], 2, "--nonsense"),
        (["up", "--gateways", "0"], 2, "from 1 to 8"),
    ],
)
def test_the_command_line_answers_in_words(argv: list[str], status: int, words: str) -> None:
    result = subprocess.run(
        [sys.executable, "-m", "localnet", *argv], capture_output=True, text=True, cwd=PROJECT_ROOT
    )
    assert result.returncode == status
    assert words in result.stdout + result.stderr
    assert "Traceback" not in result.stderr


def test_a_taken_port_is_one_sentence_and_nothing_is_left_running(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        result = subprocess.run(
            [*UP_WITH_ONE_MINER, "--port", port, "--folder", str(tmp_path)],
            capture_output=True,
            text=True,
            cwd=PROJECT_ROOT,
        )
    assert result.returncode == 1
    assert f"error: port {port}, which the gateway needs, is taken" in result.stderr
    assert "Traceback" not in result.stderr
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "script",
    [
        "miners/vllm_miner.py",
        "validator/hardened_gateway.py",
        "validator/audit_validator.py",
        "validator/watchtower.py",
    ],
)
def test_every_entry_point_explains_itself_from_any_folder_without_heavy_imports(
    script: str, tmp_path: Path
) -> None:
    program = (
        "import runpy, sys; sys.argv = [sys.argv[1], '--help']\n"
        "try:\n    runpy.run_path(sys.argv[0], run_name='__main__')\n"
        "except SystemExit as stop:\n"
        "    heavy = {'torch', 'vllm', 'transformers', 'bittensor', 'fastapi', 'boto3'} & set(sys.modules)\n"
        "    print(sorted(heavy)); raise"
    )
    result = subprocess.run(
        [sys.executable, "-c", program, str(PROJECT_ROOT / script)],
        capture_output=True,
        text=True,
        cwd=tmp_path,
    )
    assert result.returncode == 0, result.stderr
    assert "--network" in result.stdout
    assert result.stdout.rstrip().endswith("[]")
