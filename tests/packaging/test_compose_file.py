"""docker-compose.yml: what it grants, what it reads, and that four lines of .env are enough."""

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml  # type: ignore[import-untyped]

from localnet.config import PROJECT_ROOT
from shared.config import environment_name, load, read_dotenv
from validator.watchtower_config import WatchtowerConfig

COMPOSE = PROJECT_ROOT / "docker-compose.yml"
TEXT = COMPOSE.read_text()
FOUR_LINES = """\
CONSTANTINOPLE_SOURCE=https://epochs.example.org
CONSTANTINOPLE_PUBLISHER=5FHneW46xGXgs5mUiveU4sbTyGBzmstUspZC92UhjJM694ty
CONSTANTINOPLE_WALLET=watchtower
CONSTANTINOPLE_HOTKEY=hot
"""
REFERENCE = re.compile(r"\$\{([A-Z_]+)(?::([-?])([^}]*))?\}")


def resolved(value: Any, variables: dict[str, str]) -> Any:
    """A part of the compose file as compose reads it, with `${NAME:-default}` and `${NAME:?complaint}`.

    Raises:
        KeyError: a variable that has to be set is not; with its complaint.
    """
    if isinstance(value, dict):
        return {name: resolved(part, variables) for name, part in value.items()}
    if isinstance(value, list):
        return [resolved(part, variables) for part in value]

    def replace(found: "re.Match[str]") -> str:
        name, kind, words = found.groups()
        if variables.get(name):
            return variables[name]
        if kind != "-":
            raise KeyError(words or name)
        return str(words)

    return REFERENCE.sub(replace, value) if isinstance(value, str) else value


def services(variables: dict[str, str]) -> dict[str, Any]:
    found: dict[str, Any] = resolved(yaml.safe_load(TEXT), variables)["services"]
    return found


def container_environment(service: dict[str, Any], variables: dict[str, str]) -> dict[str, str]:
    """What the container gets: a name without a value is passed on if it is set, and left out otherwise."""
    named = {
        name: variables.get(name) if value is None else value
        for name, value in service["environment"].items()
    }
    return {name: value for name, value in named.items() if value is not None}


@pytest.fixture
def four_lines(tmp_path: Path) -> dict[str, str]:
    assert FOUR_LINES.count("\n") == 4
    (tmp_path / ".env").write_text(FOUR_LINES)
    return read_dotenv(tmp_path / ".env")


@pytest.fixture
def watchtower(four_lines: dict[str, str]) -> dict[str, Any]:
    found: dict[str, Any] = services(four_lines)["watchtower"]
    return found


def test_the_file_is_one_that_compose_reads() -> None:
    checker = str(Path(sys.executable).with_name("check-jsonschema"))
    command = [checker, "--builtin-schema", "vendor.compose-spec", str(COMPOSE)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


def test_four_lines_are_enough_for_the_watchtower_to_start(
    watchtower: dict[str, Any], four_lines: dict[str, str], tmp_path: Path
) -> None:
    environment = container_environment(watchtower, four_lines)
    config = load(WatchtowerConfig, "", [], environment, tmp_path / "none")
    assert config.source == "https://epochs.example.org"
    assert config.publisher == four_lines["CONSTANTINOPLE_PUBLISHER"]
    assert (config.wallet, config.hotkey) == ("watchtower", "hot")
    assert (config.network, config.netuid) == ("finney", 97)
    assert (config.calibration, config.once, config.health) == (None, False, False)


def test_without_a_source_compose_says_what_is_missing(four_lines: dict[str, str]) -> None:
    del four_lines["CONSTANTINOPLE_SOURCE"]
    with pytest.raises(KeyError, match="name where epochs are published"):
        services(four_lines)


def test_the_watchtower_gets_settings_only_of_its_own(watchtower: dict[str, Any]) -> None:
    own = {environment_name(name) for name in WatchtowerConfig.__dataclass_fields__}
    assert set(watchtower["environment"]) <= own
    assert "env_file" not in watchtower


def test_one_hotkey_is_mounted_read_only_and_nothing_else_of_the_wallet(watchtower: dict[str, Any]) -> None:
    (wallet,) = (volume for volume in watchtower["volumes"] if volume["type"] == "bind")
    assert wallet["source"] == "~/.bittensor/wallets/watchtower/hotkeys/hot"
    assert wallet["target"] == "/wallets/watchtower/hotkeys/hot"
    assert wallet["read_only"] is True
    assert wallet["bind"]["create_host_path"] is False
    assert "cold" not in TEXT.replace("neither the coldkey nor", "")


def test_the_state_is_a_volume(watchtower: dict[str, Any]) -> None:
    (state,) = (volume for volume in watchtower["volumes"] if volume["type"] == "volume")
    assert state["target"] == "/state"
    assert state["source"] in yaml.safe_load(TEXT)["volumes"]


def test_the_container_may_do_as_little_as_possible(watchtower: dict[str, Any]) -> None:
    uid, gid = watchtower["user"].split(":")
    assert int(uid) > 0
    assert int(gid) > 0
    assert watchtower["read_only"] is True
    assert watchtower["cap_drop"] == ["ALL"]
    assert watchtower["security_opt"] == ["no-new-privileges:true"]
    for granting in (
        "privileged",
        "cap_add",
        "ports",
        "network_mode",
        "pid",
        "ipc",
        "devices",
        "userns_mode",
    ):
        assert granting not in watchtower
    assert not any("docker.sock" in str(volume) for volume in watchtower["volumes"])


def test_the_container_is_bounded_and_comes_back(watchtower: dict[str, Any]) -> None:
    assert watchtower["mem_limit"] == "1g"
    assert watchtower["pids_limit"] > 0
    assert watchtower["restart"] == "unless-stopped"
    assert watchtower["stop_grace_period"] == "30s"
    assert set(watchtower["logging"]["options"]) == {"max-size", "max-file"}


def test_updates_by_themselves_happen_only_when_asked_for(four_lines: dict[str, str]) -> None:
    found = services(four_lines)
    assert [name for name, service in found.items() if not service.get("profiles")] == ["watchtower"]
    updater = found["updater"]
    assert updater["profiles"] == ["autoupdate"]
    scope = updater["environment"]["WATCHTOWER_SCOPE"]
    assert found["watchtower"]["labels"]["com.centurylinklabs.watchtower.scope"] == scope
    assert found["watchtower"]["labels"]["com.centurylinklabs.watchtower.enable"] == "true"


def variables_read() -> set[str]:
    without_value = {
        name
        for service in yaml.safe_load(TEXT)["services"].values()
        for name, value in service.get("environment", {}).items()
        if value is None
    }
    return without_value | {found[0] for found in REFERENCE.findall(TEXT)}


def test_every_variable_stands_in_the_example_below_a_comment() -> None:
    explained: set[str] = set()
    comment = False
    for line in (PROJECT_ROOT / ".env.example").read_text().splitlines():
        setting = re.match(r"#?(CONSTANTINOPLE_[A-Z_]+)=", line)
        if setting and comment:
            explained.add(setting[1])
        comment = bool(line) and (comment or not setting)
    assert len(variables_read()) >= 12
    assert variables_read() - explained == set()


def test_the_example_itself_is_read_by_every_process(tmp_path: Path) -> None:
    example = read_dotenv(PROJECT_ROOT / ".env.example")
    config = load(WatchtowerConfig, "", [], example, tmp_path / "none")
    assert config == WatchtowerConfig()


COMPOSE_COMMAND = os.environ.get("DOCKER_COMPOSE")


@pytest.mark.skipif(not COMPOSE_COMMAND, reason="DOCKER_COMPOSE names no docker compose to ask")
def test_compose_itself_understands_it_as_these_tests_do(
    watchtower: dict[str, Any], four_lines: dict[str, str], tmp_path: Path
) -> None:
    assert COMPOSE_COMMAND is not None
    command = [*COMPOSE_COMMAND.split(), "--env-file", str(tmp_path / ".env"), "-f", str(COMPOSE), "config"]
    environment = {"PATH": os.environ["PATH"], "HOME": "/home/operator"}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    assert done.returncode == 0, done.stderr
    (understood,) = yaml.safe_load(done.stdout)["services"].values()
    given = {name: value for name, value in understood["environment"].items() if value is not None}
    assert given == container_environment(watchtower, four_lines)
    (wallet,) = (volume for volume in understood["volumes"] if volume["type"] == "bind")
    assert wallet["source"] == "/home/operator/.bittensor/wallets/watchtower/hotkeys/hot"
    assert understood["user"] == watchtower["user"]
