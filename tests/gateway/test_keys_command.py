"""`python -m gateway.keys` as operators type it, beside a gateway process that runs."""

import asyncio
import os
import sys
from asyncio.subprocess import PIPE
from pathlib import Path
from typing import Any

import openai
import pytest
from openai import AsyncOpenAI

from gateway.keys import COMMANDS, main
from shared.errors import ConfigError
from tests.gateway.running_gateway import CHAT, HANG_S, keypair
from tests.gateway.scripted_miner import ScriptedMiner
from tests.gateway.test_process import REPOSITORY, callable_miners, make_wallet, start


def run(capsys: pytest.CaptureFixture[str], tmp_path: Path, command: str, *argv: str) -> str:
    capsys.readouterr()
    assert main([command, "--state-dir", str(tmp_path / "state"), *argv]) == 0
    return capsys.readouterr().out


@pytest.fixture(autouse=True)
def no_settings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in list(os.environ):
        if name.startswith("CONSTANTINOPLE"):
            monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)


def test_a_key_is_made_shown_once_listed_and_revoked(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    limits = ("--requests-per-minute", "7", "--tokens-per-day", "1000", "--expires-days", "30")
    secret = run(capsys, tmp_path, "create", "--name", "alice", *limits).strip()
    assert secret.startswith("cst_")
    listed = run(capsys, tmp_path, "list")
    head, line = listed.splitlines()
    assert "requests/min" in head
    key_id, hint, name, state, *_, requests, tokens, daily = line.split()
    assert (hint, name, state, requests, tokens, daily) == (
        f"{secret[:8]}…",
        "alice",
        "valid",
        "7",
        "-",
        "1000",
    )
    assert secret not in listed
    assert key_id in run(capsys, tmp_path, "revoke", key_id)
    assert "revoked" in run(capsys, tmp_path, "list")
    assert secret not in run(capsys, tmp_path, "usage")


def test_help_lists_the_commands(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"]) == 0
    shown = capsys.readouterr().out
    assert all(command in shown for command in COMMANDS)


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        ([], "no command is given"),
        (["make"], "there is no command 'make'"),
        (["create"], "--name"),
        (["create", "--name", "a", "--requests-per-minute", "-1"], "at least 0"),
        (["create", "--name", "a", "--expires-days", "soon"], "must be a number"),
        (["list", "all"], "unknown argument"),
        (["revoke"], "name one key"),
        (["revoke", "key_a", "key_b"], "name one key"),
        (["revoke", "key_a"], "there is no key"),
        (["usage", "--days", "0"], "at least 1"),
    ],
)
def test_mistakes_are_told_in_words(argv: list[str], words: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CONSTANTINOPLE_STATE_DIR", str(Path.cwd() / "state"))
    with pytest.raises(ConfigError, match=words):
        main(argv)


def test_a_state_folder_that_can_not_be_made_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match="--state-dir"):
        main(["list", "--state-dir", str(tmp_path / "file" / "state")])


async def keys(tmp_path: Path, *argv: str) -> str:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "gateway.keys", *argv, "--state-dir", str(tmp_path / "state")),
        stdout=PIPE,
        cwd=REPOSITORY,
    )
    output, _ = await process.communicate()
    assert process.returncode == 0
    return output.decode()


async def test_help_imports_no_database(tmp_path: Path) -> None:
    code = (
        "import sys, gateway.keys; print(sorted({'sqlalchemy', 'starlette', 'pydantic'} & set(sys.modules)))"
    )
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", code, stdout=PIPE, cwd=REPOSITORY)
    output, _ = await process.communicate()
    assert output == b"[]\n"


async def outcome(url: str, key: str) -> str:
    """`answered`, or the error's code."""
    async with AsyncOpenAI(base_url=f"{url}/v1", api_key=key, max_retries=0, timeout=HANG_S) as client:
        try:
            await client.chat.completions.create(**CHAT, max_tokens=4)
        except openai.APIStatusError as error:
            return str(error.code)
    return "answered"


async def until(url: str, key: str, wanted: str) -> int:
    """Ask until the outcome is `wanted`: a gateway looks for changes every two seconds.

    Returns how many requests were answered.
    """
    answered = 0
    async with asyncio.timeout(HANG_S):
        while (found := await outcome(url, key)) != wanted:
            answered += found == "answered"
            await asyncio.sleep(0.05)
    return answered + (wanted == "answered")


async def test_a_gateway_process_follows_limits_and_logs_no_secret(tmp_path: Path) -> None:
    signer = make_wallet(tmp_path / "wallets", "validator").hotkey
    async with ScriptedMiner(keypair("miner0"), signer.ss58_address).serving() as miner:
        flags = ("--port", "0", "--no-anonymous", "--miners", f"{miner.address}={miner.hotkey}")
        process = await start(tmp_path, *flags)
        assert process.stderr is not None
        try:
            logged: list[bytes] = []
            async with asyncio.timeout(HANG_S):
                while b"listens on" not in (line := await process.stderr.readline()):
                    assert line, b"".join(logged).decode()
                    logged.append(line)
            url = f"http://127.0.0.1:{int(line.split()[-1])}"
            await callable_miners(url)
            assert await outcome(url, "none") == "missing_api_key"
            assert await outcome(url, "cst_" + "A" * 43) == "invalid_api_key"
            first = (await keys(tmp_path, "create", "--name", "first")).strip()
            answered = await until(url, first, "answered")
            few = await keys(tmp_path, "create", "--name", "few", "--tokens-per-day", "90")
            await until(url, few.strip(), "answered")
            ended = {await outcome(url, few.strip()) for _ in range(20)}
            assert ended <= {"answered", "insufficient_quota"}
            assert "insufficient_quota" in ended
            (line_of_first,) = (one for one in (await keys(tmp_path, "list")).splitlines() if "first" in one)
            await keys(tmp_path, "revoke", line_of_first.split()[0])
            answered += await until(url, first, "invalid_api_key")
        finally:
            if process.returncode is None:
                process.terminate()
            logged.append(await process.stderr.read())
            await process.wait()
    secrets = [first, few.strip(), "A" * 43]
    assert not any(one[8:].encode() in b"".join(logged) for one in secrets)
    usage = await keys(tmp_path, "usage")
    used: dict[str, Any] = {line.split()[2]: line.split()[4:] for line in usage.splitlines()[1:]}
    assert used["first"][0] == str(answered)
    assert 0 < int(used["few"][1]) + int(used["few"][2]) <= 90
