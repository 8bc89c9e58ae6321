"""The units and PM2's file start what exists, with flags that exist, and are as hardened as they say."""

import json
import re
import shutil
import subprocess
import sys
from collections import defaultdict
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest

from gateway.config import GatewayConfig
from gateway.config import load_config as load_gateway
from localnet.config import PROJECT_ROOT
from miners.config import MinerConfig
from miners.config import load_config as load_miner
from shared.config import environment_name, load
from shared.watchdog_config import DESCRIPTION, WatchdogConfig
from validator.audit_config import AuditConfig
from validator.audit_config import load_config as load_auditor
from validator.watchtower_config import load_config as load_watchtower

UNITS = sorted((PROJECT_ROOT / "deploy" / "systemd").glob("*.service"))
NEWER_THAN_OLD_SYSTEMD = ("RestartSteps", "RestartMaxDelaySec")
BY_UNIT = {"auditor": AuditConfig, "gateway": GatewayConfig, "miner": MinerConfig}

needs_node = pytest.mark.skipif(shutil.which("node") is None, reason="node reads ecosystem.config.js")
needs_systemd = pytest.mark.skipif(
    shutil.which("systemd-analyze") is None, reason="there is no systemd-analyze"
)


def unit_name(unit: Path) -> str:
    return unit.stem.removeprefix("constantinople-")


def settings(unit: Path) -> dict[str, list[str]]:
    """Every setting of a unit, with all its values."""
    found: dict[str, list[str]] = defaultdict(list)
    for line in unit.read_text(encoding="utf-8").splitlines():
        if "=" in line and not line.startswith("#"):
            name, _, value = line.partition("=")
            found[name].append(value)
    return found


def test_there_is_a_unit_for_each_process() -> None:
    assert {unit_name(unit) for unit in UNITS} == {"auditor", "gateway", "miner", "watchtower"}


@pytest.mark.parametrize("unit", UNITS, ids=unit_name)
def test_a_unit_starts_a_program_that_exists_and_sets_variables_that_are_read(unit: Path) -> None:
    found = settings(unit)
    (command,) = found["ExecStart"]
    python, script = command.split()
    assert python == f"{found['WorkingDirectory'][0]}/.venv/bin/python"
    assert (PROJECT_ROOT / script).is_file()
    config = BY_UNIT.get(unit_name(unit), AuditConfig)
    known = {environment_name(field.name) for field in fields(config)}
    assert set(re.findall(r"CONSTANTINOPLE_[A-Z_]+", " ".join(found["Environment"]))) <= known


@pytest.mark.parametrize("unit", UNITS, ids=unit_name)
def test_a_unit_is_hardened_and_restarts_what_failed_but_no_wrong_settings(unit: Path) -> None:
    found = settings(unit)
    expected = {
        "NoNewPrivileges": "yes",
        "ProtectSystem": "strict",
        "ProtectHome": "yes",
        "PrivateTmp": "yes",
        "CapabilityBoundingSet": "",
        "StateDirectory": "constantinople",
        "Restart": "on-failure",
        "RestartPreventExitStatus": "2",
        "SystemCallFilter": "@system-service",
        "User": "constantinople",
    }
    assert {name: found[name] for name in expected} == {name: [value] for name, value in expected.items()}


@pytest.mark.parametrize("unit", UNITS, ids=unit_name)
def test_only_processes_that_notify_have_a_watchdog(unit: Path) -> None:
    found = settings(unit)
    notifies = unit_name(unit) in {"auditor", "gateway", "miner"}
    assert (found["Type"] == ["notify"]) is notifies
    assert bool(found["WatchdogSec"]) is notifies


def test_systemd_waits_for_a_gateways_answers_and_a_miners_start() -> None:
    gateway = settings(PROJECT_ROOT / "deploy" / "systemd" / "constantinople-gateway.service")
    config = GatewayConfig()
    assert int(gateway["TimeoutStopSec"][0]) > config.drain_seconds + config.shutdown_seconds
    assert gateway["NotifyAccess"] == ["all"]


@needs_systemd
@pytest.mark.parametrize("unit", UNITS, ids=unit_name)
def test_systemd_itself_takes_a_unit(unit: Path, tmp_path: Path) -> None:
    here = tmp_path / unit.name
    here.write_text(
        unit.read_text(encoding="utf-8").replace("/opt/constantinople/.venv/bin/python", sys.executable)
    )
    done = subprocess.run(
        ["systemd-analyze", "verify", str(here)], capture_output=True, text=True, check=False
    )
    complaints = [
        line
        for line in done.stderr.splitlines()
        if unit.name in line and not any(name in line for name in NEWER_THAN_OLD_SYSTEMD)
    ]
    assert complaints == []


@needs_systemd
def test_systemd_itself_would_complain_of_a_mistake(tmp_path: Path) -> None:
    wrong = tmp_path / "wrong.service"
    wrong.write_text(
        UNITS[0].read_text(encoding="utf-8").replace("ProtectSystem=strict", "ProtectSystem=maybe")
    )
    done = subprocess.run(
        ["systemd-analyze", "verify", str(wrong)], capture_output=True, text=True, check=False
    )
    assert re.search(r"wrong\.service:\d+: .*maybe", done.stderr)


@pytest.fixture(scope="module")
def apps() -> dict[str, dict[str, Any]]:
    """What PM2 reads."""
    code = "console.log(JSON.stringify(require('./ecosystem.config.js').apps))"
    done = subprocess.run(["node", "-e", code], capture_output=True, text=True, check=True, cwd=PROJECT_ROOT)
    return {app["name"]: app for app in json.loads(done.stdout)}


@needs_node
def test_pm2_starts_what_exists_with_flags_that_exist(
    apps: dict[str, dict[str, Any]], tmp_path: Path
) -> None:
    nowhere = tmp_path / ".env"
    for app in apps.values():
        assert (PROJECT_ROOT / app["script"]).is_file()
        assert app["stop_exit_codes"] == [0, 2]
        assert app["exp_backoff_restart_delay"] > 0
    assert load_miner(apps["miner"]["args"], {}, nowhere)[1] == []
    gateway = load_gateway(apps["gateway"]["args"], {}, nowhere)
    assert apps["gateway"]["kill_timeout"] > 1000 * (gateway.drain_seconds + gateway.shutdown_seconds)
    load_auditor(apps["auditor"]["args"], {}, nowhere)
    load_watchtower(apps["watchtower"]["args"], {"CONSTANTINOPLE_SOURCE": "store"}, nowhere)


@needs_node
@pytest.mark.parametrize("name", ["miner", "gateway", "auditor"])
def test_a_watchdog_asks_the_port_and_ends_the_program_of_its_process(
    apps: dict[str, dict[str, Any]], name: str, tmp_path: Path
) -> None:
    watched, watchdog = apps[name], apps[f"{name}-watchdog"]
    config = load(WatchdogConfig, DESCRIPTION, watchdog["args"], {}, tmp_path / ".env")
    port = watched["args"][watched["args"].index("--port") + 1]
    assert config.url == f"http://127.0.0.1:{port}/health"
    assert config.program == watched["script"]
    assert str(config.pid_file).endswith(f"/pids/{name}-*.pid")


def test_the_watchdogs_script_starts_from_any_folder(tmp_path: Path) -> None:
    script = PROJECT_ROOT / "deploy" / "watchdog.py"
    done = subprocess.run(
        [sys.executable, str(script)], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert "--pid-file" in done.stderr
