import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

from shared.config import at_least, between, is_port, load, load_with_rest, one_of, read_dotenv, setting
from shared.errors import ConfigError


@dataclass(frozen=True)
class Example:
    port: int = setting(8081, "port to listen on", is_port)
    rate: float = setting(0.1, "audit rate", between(0.1, 1))
    discover: bool = setting(False, "read the metagraph")
    names: tuple[str, ...] = setting((), "names, comma-separated")
    folder: Path | None = setting(None, "a folder")
    level: str = setting("INFO", "log level", one_of("INFO", "DEBUG"))
    count: int = setting(1, "how many, at 100 % load", at_least(1))


NOWHERE = Path("/nonexistent/.env")


def read(
    argv: Sequence[str] = (), environ: Mapping[str, str] | None = None, dotenv: Path = NOWHERE
) -> Example:
    return load(Example, "an example", list(argv), environ or {}, dotenv)


def test_defaults_stand_when_nothing_is_given() -> None:
    assert read() == Example()


def test_flags_beat_the_environment_which_beats_the_file(tmp_path: Path) -> None:
    dotenv = tmp_path / ".env"
    dotenv.write_text("CONSTANTINOPLE_PORT=1\nCONSTANTINOPLE_RATE=0.3\nCONSTANTINOPLE_COUNT=3\n")
    environ = {"CONSTANTINOPLE_PORT": "2", "CONSTANTINOPLE_RATE": "0.4"}
    config = read(["--port", "5"], environ, dotenv)
    assert (config.port, config.rate, config.count) == (5, 0.4, 3)


def test_values_become_the_declared_types() -> None:
    config = read(["--discover", "--names", "a, b,", "--folder", "x/y"], {})
    assert (config.discover, config.names, config.folder) == (True, ("a", "b"), Path("x/y"))
    assert read(["--no-discover"], {"CONSTANTINOPLE_DISCOVER": "yes"}).discover is False


@pytest.mark.parametrize(
    ("argv", "environ", "words"),
    [
        (["--port", "x"], {}, ["--port", "'x'", "whole number"]),
        (["--port", "70000"], {}, ["--port", "from 0 to 65535"]),
        ([], {"CONSTANTINOPLE_RATE": "0.05"}, ["CONSTANTINOPLE_RATE", "environment", "from 0.1 to 1"]),
        ([], {"CONSTANTINOPLE_RATE": "nan"}, ["CONSTANTINOPLE_RATE", "from 0.1 to 1"]),
        ([], {"CONSTANTINOPLE_DISCOVER": "maybe"}, ["CONSTANTINOPLE_DISCOVER", "true or false"]),
        (["--level", "LOUD"], {}, ["--level", "INFO, DEBUG"]),
        (["--count", "0"], {}, ["--count", "at least 1"]),
        (["--nonsense"], {}, ["--nonsense", "--help"]),
        (["--port"], {}, ["--port", "--help"]),
        (["--por", "1"], {}, ["--por"]),
    ],
)
def test_a_bad_value_names_itself_its_source_and_what_is_allowed(
    argv: list[str], environ: dict[str, str], words: list[str]
) -> None:
    with pytest.raises(ConfigError) as caught:
        read(argv, environ)
    assert all(word in str(caught.value) for word in words)


def test_a_bad_value_in_the_file_names_the_file(tmp_path: Path) -> None:
    dotenv = tmp_path / ".env"
    dotenv.write_text("CONSTANTINOPLE_PORT=never\n")
    with pytest.raises(ConfigError, match=str(dotenv)):
        read(dotenv=dotenv)


def test_a_line_of_the_file_that_is_no_setting_is_refused_by_number(tmp_path: Path) -> None:
    dotenv = tmp_path / ".env"
    dotenv.write_text("# comment\n\nexport A='b c'\nnonsense\n")
    with pytest.raises(ConfigError, match="line 4"):
        read_dotenv(dotenv)


def test_comments_quotes_and_export_are_understood(tmp_path: Path) -> None:
    dotenv = tmp_path / ".env"
    dotenv.write_text("# comment\n\nexport A='b c'\nB=\"d\"\nC=\n")
    assert read_dotenv(dotenv) == {"A": "b c", "B": "d", "C": ""}


def test_unknown_flags_come_back_in_order_for_the_engine() -> None:
    config, rest = load_with_rest(
        Example, "an example", ["--port", "1", "--seed", "5", "--enforce-eager"], {}, NOWHERE
    )
    assert config.port == 1
    assert rest == ["--seed", "5", "--enforce-eager"]


def test_help_names_each_flag_its_default_and_its_variable(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        read(["--help"])
    printed = capsys.readouterr().out
    assert stopped.value.code == 0
    assert "--port" in printed
    assert "8081" in printed
    assert "CONSTANTINOPLE_PORT" in printed
    assert "100 %" in printed


def test_reading_settings_loads_nothing_heavy() -> None:
    heavy = {"torch", "vllm", "transformers", "bittensor", "pydantic", "fastapi"}
    program = f"import sys, shared.config; print(sorted({heavy!r} & set(sys.modules)))"
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"
