from pathlib import Path

import pytest

from shared.errors import ConfigError
from validator.publish import main
from validator.publish_config import load_check_config


def test_the_store_is_the_auditors_unless_it_is_named(tmp_path: Path) -> None:
    environ = {"CONSTANTINOPLE_STORE": "s3://bucket", "CONSTANTINOPLE_STORE_ENDPOINT": "https://host"}
    config = load_check_config([], environ, tmp_path / "none")
    assert (config.store, config.store_endpoint, config.store_region) == (
        "s3://bucket",
        "https://host",
        "auto",
    )
    assert load_check_config(["--store", "/a"], environ, tmp_path / "none").store == "/a"


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        ([], "name the store with --store"),
        (["--store", "/a", "--public-url", "epochs.example.org"], "must begin with https://"),
        (["--store", "/a", "--more"], "unknown argument --more"),
    ],
)
def test_what_is_not_allowed_is_said(argv: list[str], words: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=words):
        load_check_config(argv, {}, tmp_path / "none")


@pytest.mark.parametrize("argv", [[], ["chekc"]])
def test_a_command_that_there_is_not_is_refused(argv: list[str]) -> None:
    with pytest.raises(ConfigError, match="--help shows all"):
        main([*argv] or [""])


def test_what_is_no_store_is_refused() -> None:
    with pytest.raises(ConfigError, match="is not a store"):
        main(["check", "--store", "ftp://host/a"])


def test_help_names_the_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"]) == 0
    assert "check" in capsys.readouterr().out
