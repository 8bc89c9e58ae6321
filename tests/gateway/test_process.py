"""The gateway as a process: the command itself, its complaints, its end, and the real chain."""

import asyncio
import os
import signal
import socket
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import bittensor as bt
import openai
import pytest
from aiohttp import web
from openai import AsyncOpenAI

from gateway.http_server import listen
from localnet.chain_node import dev_client
from shared.chain import SubtensorChain
from shared.record_log import Cursor, RecordReader
from shared.records import RequestRecord
from tests.gateway.running_gateway import CHAT, HANG_S, keypair
from tests.gateway.scripted_miner import MODEL, Script, ScriptedMiner, honest, open_stream

REPOSITORY = Path(__file__).resolve().parents[2]
COMMAND = [sys.executable, str(REPOSITORY / "validator" / "hardened_gateway.py")]
NETUID = 97


def make_wallet(folder: Path, name: str) -> Any:
    wallet = bt.Wallet(name, "default", path=str(folder))
    wallet.create_new_coldkey(use_password=False, overwrite=True)
    wallet.create_new_hotkey(use_password=False, overwrite=True)
    return wallet


async def start(tmp_path: Path, *argv: str) -> Process:
    """The command, run from a folder that is not the repository, with its wallets and state in `tmp_path`."""
    folders = ["--wallet-path", str(tmp_path / "wallets"), "--state-dir", str(tmp_path / "state")]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("CONSTANTINOPLE")}
    return await asyncio.create_subprocess_exec(
        *COMMAND,
        *folders,
        *("--host", "127.0.0.1", "--model", MODEL, "--netuid", str(NETUID)),
        *argv,
        stdout=PIPE,
        stderr=PIPE,
        cwd=tmp_path,
        env=environment,
    )


async def complaint(tmp_path: Path, *argv: str) -> str:
    """What the command prints when it refuses to start: one line, and exit status 2."""
    process = await start(tmp_path, *argv)
    async with asyncio.timeout(HANG_S):
        _, errors = await process.communicate()
    assert process.returncode == 2
    (line,) = errors.decode().strip().splitlines()
    return line


@asynccontextmanager
async def gateway_process(tmp_path: Path, *argv: str) -> AsyncIterator[tuple[Process, str]]:
    """A running gateway and its URL; killed at the end if it still runs."""
    process = await start(tmp_path, "--port", "0", *argv)
    assert process.stderr is not None
    drained: asyncio.Task[bytes] | None = None
    try:
        async with asyncio.timeout(HANG_S):
            lines = []
            while b"listens on" not in (line := await process.stderr.readline()):
                lines.append(line)
                assert line, b"".join(lines).decode()
        drained = asyncio.create_task(process.stderr.read())
        yield process, f"http://127.0.0.1:{int(line.split()[-1])}"
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()
        if drained is not None:
            await drained


async def callable_miners(url: str) -> dict[str, Any]:
    """The gateway's health, as soon as a miner can be called."""
    async with asyncio.timeout(HANG_S), aiohttp.ClientSession() as session:
        while True:
            async with session.get(f"{url}/health") as answer:
                health: dict[str, Any] = await answer.json()
            if health["miners_callable"]:
                return health


def records(tmp_path: Path) -> list[RequestRecord]:
    return RecordReader(tmp_path / "state" / "records").read(Cursor(), 100)[0]


def client(url: str) -> AsyncOpenAI:
    return AsyncOpenAI(base_url=f"{url}/v1", api_key="none", max_retries=0)


async def test_a_missing_wallet_is_one_plain_sentence(tmp_path: Path) -> None:
    line = await complaint(tmp_path, "--discover", "--network", "local")
    assert line.startswith("error: there is no hotkey at")
    assert "btcli wallet" in line


async def test_an_unknown_network_is_one_plain_sentence(tmp_path: Path) -> None:
    line = await complaint(tmp_path, "--discover", "--network", "fin")
    assert "no network 'fin'" in line
    assert "finney" in line


async def test_a_taken_port_is_one_plain_sentence(tmp_path: Path) -> None:
    make_wallet(tmp_path / "wallets", "validator")
    with listen("127.0.0.1", 0) as taken:
        port = str(taken.getsockname()[1])
        line = await complaint(tmp_path, "--discover", "--network", "local", "--port", port)
    assert f"can't listen on port {port}" in line


async def test_a_state_folder_of_another_gateway_is_one_plain_sentence(tmp_path: Path) -> None:
    make_wallet(tmp_path / "wallets", "validator")
    hotkey = keypair("miner0").ss58_address
    async with gateway_process(tmp_path, "--miners", f"127.0.0.1:1={hotkey}"):
        line = await complaint(tmp_path, "--port", "0", "--miners", f"127.0.0.1:1={hotkey}")
    assert "another process writes" in line


async def test_help_imports_nothing_heavy(tmp_path: Path) -> None:
    """Seconds are not measured: what costs them is not imported."""
    code = (
        "import sys; from gateway.config import load_config\n"
        "try: load_config(['--help'])\n"
        "except SystemExit: pass\n"
        "print(sorted({'bittensor', 'torch', 'fastapi', 'aiohttp', 'pydantic'} & set(sys.modules)))"
    )
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", code, stdout=PIPE, cwd=REPOSITORY)
    output, _ = await process.communicate()
    assert b"--discover" in output
    assert output.endswith(b"[]\n")


async def test_importing_the_gateway_imports_no_torch(tmp_path: Path) -> None:
    code = "import sys, gateway.process; print('torch' in sys.modules)"
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", code, stdout=PIPE, cwd=REPOSITORY)
    output, _ = await process.communicate()
    assert output == b"False\n"


@asynccontextmanager
async def scripted_subnet(
    tmp_path: Path, behaviour: Any = honest, *more_flags: str
) -> AsyncIterator[tuple[Process, str]]:
    """A gateway process in front of one scripted miner, from a fixed list."""
    signer = make_wallet(tmp_path / "wallets", "validator").hotkey
    async with ScriptedMiner(keypair("miner0"), signer.ss58_address, behaviour).serving() as miner:
        flags = ("--miners", f"{miner.address}={miner.hotkey}")
        async with gateway_process(tmp_path, *flags, *more_flags) as (process, url):
            await callable_miners(url)
            yield process, url


async def test_kill_minus_nine_loses_no_answer_that_a_client_has_seen(tmp_path: Path) -> None:
    async with scripted_subnet(tmp_path) as (process, url):
        answers = await asyncio.gather(*(client(url).chat.completions.create(**CHAT) for _ in range(5)))
        process.send_signal(signal.SIGKILL)
        await process.wait()
    assert {f"chatcmpl-{record.request_id}" for record in records(tmp_path)} == {a.id for a in answers}


async def test_sigterm_finishes_running_streams_and_exits_cleanly(tmp_path: Path) -> None:
    gate = asyncio.Event()

    async def gated(request: web.Request, script: Script) -> web.StreamResponse:
        response = await script.stream(request, *script.events[:2])
        await gate.wait()
        for piece in script.events[2:]:
            await response.write(piece)
        return response

    async with scripted_subnet(tmp_path, gated) as (process, url), asyncio.timeout(HANG_S):
        stream = await client(url).chat.completions.create(**CHAT, stream=True)
        await anext(aiter(stream))
        process.send_signal(signal.SIGTERM)
        await refuses_connections(url)
        gate.set()
        words = [event.choices[0].delta.content async for event in stream]
        assert words[-1] == "."
        assert await process.wait() == 0
    assert [record.outcome for record in records(tmp_path)] == ["answered"]


async def refuses_connections(url: str) -> None:
    """Wait until nothing accepts there any more."""
    while True:
        try:
            await client(url).models.list()
        except openai.APIConnectionError:
            return


async def test_sigterm_cuts_streams_that_do_not_end(tmp_path: Path) -> None:
    async with scripted_subnet(tmp_path, endless, "--shutdown-seconds", "0") as (process, url):
        async with asyncio.timeout(HANG_S):
            stream = await client(url).chat.completions.create(**CHAT, stream=True)
            await anext(aiter(stream))
            process.send_signal(signal.SIGTERM)
            with pytest.raises(openai.APIError) as caught:
                _ = [event async for event in stream]
            assert caught.value.code == "shutting_down"
            assert await process.wait() == 0
    (record,) = records(tmp_path)
    assert (record.outcome, record.error) == ("client_left", None), "not the miner's doing"


async def endless(request: web.Request, script: Script) -> web.StreamResponse:
    """Two events, then nothing for ever."""
    response = await open_stream(request)
    await response.write(b"".join(script.events[:2]))
    await asyncio.Event().wait()
    return response


async def readiness(url: str) -> tuple[int, dict[str, Any], str | None]:
    """Status and body of /ready, and what the answer says about its connection."""
    async with aiohttp.ClientSession() as session, session.get(f"{url}/ready") as answer:
        return answer.status, await answer.json(), answer.headers.get("connection")


async def test_during_the_grace_of_a_drain_it_says_so_and_still_serves(tmp_path: Path) -> None:
    gate = asyncio.Event()

    async def gated(request: web.Request, script: Script) -> web.StreamResponse:
        if not script.body.get("stream"):
            return await honest(request, script)
        response = await script.stream(request, *script.events[:2])
        await gate.wait()
        for piece in script.events[2:]:
            await response.write(piece)
        return response

    async with scripted_subnet(tmp_path, gated, "--drain-seconds", "600") as (process, url):
        async with asyncio.timeout(HANG_S):
            assert (await readiness(url))[0::2] == (200, None)
            stream = await client(url).chat.completions.create(**CHAT, stream=True)
            await anext(aiter(stream))
            process.send_signal(signal.SIGTERM)
            while (seen := await readiness(url))[0] == 200:
                pass
            assert seen[0::2] == (503, "close")
            assert "shutting down" in seen[1]["reasons"][0]
            late = await client(url).chat.completions.with_raw_response.create(**CHAT)
            assert (late.status_code, late.headers["connection"]) == (200, "close")
            gate.set()
            words = [event.choices[0].delta.content async for event in stream]
            assert words[-1] == "."
            process.send_signal(signal.SIGTERM)
            assert await process.wait() == 0
    assert sorted(record.outcome for record in records(tmp_path)) == ["answered", "answered"]


async def test_a_second_signal_ends_it_at_once_and_the_record_is_there(tmp_path: Path) -> None:
    async with scripted_subnet(tmp_path, endless, "--shutdown-seconds", "600") as (process, url):
        async with asyncio.timeout(HANG_S):
            stream = await client(url).chat.completions.create(**CHAT, stream=True)
            await anext(aiter(stream))
            process.send_signal(signal.SIGTERM)
            await refuses_connections(url)
            assert process.returncode is None, "the stream keeps it"
            process.send_signal(signal.SIGTERM)
            with pytest.raises(openai.APIError) as caught:
                _ = [event async for event in stream]
            assert caught.value.code == "shutting_down"
            assert await process.wait() == 0
    (record,) = records(tmp_path)
    assert (record.outcome, record.error) == ("client_left", None)


async def test_a_process_serves_its_metrics_on_a_port_of_their_own(tmp_path: Path) -> None:
    make_wallet(tmp_path / "wallets", "validator")
    with listen("127.0.0.1", 0) as free:
        port = free.getsockname()[1]
    flags = ("--discover", "--network", "ws://127.0.0.1:1", "--metrics-port", str(port))
    async with gateway_process(tmp_path, *flags) as (_, url), aiohttp.ClientSession() as session:
        async with session.get(f"http://127.0.0.1:{port}/metrics") as answer:
            assert answer.status == 200
            text = await answer.text()
        async with session.get(f"{url}/metrics") as elsewhere:
            assert elsewhere.status == 404
        async with session.get(f"http://127.0.0.1:{port}/v1/models") as nothing_else:
            assert nothing_else.status == 404
    assert "constantinople_gateway_build_info" in text
    assert "process_resident_memory_bytes" in text


async def test_a_process_that_shares_its_metrics_shows_what_is_in_the_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "metrics"
    folder.mkdir()
    monkeypatch.setenv("PROMETHEUS_MULTIPROC_DIR", str(folder))
    async with scripted_subnet(tmp_path) as (_, url), aiohttp.ClientSession() as session:
        await client(url).chat.completions.create(**CHAT)
        async with session.get(f"{url}/metrics") as answer:
            text = await answer.text()
    ended = 'requests_total{outcome="answered",path="/v1/chat/completions",status="200"} 1.0'
    assert f"constantinople_gateway_{ended}" in text
    assert "constantinople_gateway_ready 1.0" in text
    assert 'miner_callable{hotkey="' in text


async def health_when(url: str, seen: Callable[[dict[str, Any]], object]) -> dict[str, Any]:
    """The gateway's health, as soon as it is as it should be."""
    async with asyncio.timeout(HANG_S), aiohttp.ClientSession() as session:
        while True:
            async with session.get(f"{url}/health") as answer:
                health: dict[str, Any] = await answer.json()
            if seen(health):
                return health


def hotkeys(health: dict[str, Any]) -> list[str]:
    return [entry["hotkey"] for entry in health["miners"]]


async def test_a_file_of_miners_is_followed_and_a_wrong_one_changes_nothing(tmp_path: Path) -> None:
    make_wallet(tmp_path / "wallets", "validator")
    first, second = keypair("miner0").ss58_address, keypair("miner1").ss58_address
    file = tmp_path / "miners"
    file.write_text(f"127.0.0.1:1={first}\n")
    async with gateway_process(tmp_path, "--miners-file", str(file)) as (_, url):
        assert hotkeys(await health_when(url, hotkeys)) == [first]
        file.write_text(f"127.0.0.1:1={first}\nnonsense\n")
        wrong = await health_when(url, lambda health: health["metagraph_error"] is not None)
        assert "line 2" in wrong["metagraph_error"]
        assert hotkeys(wrong) == [first]
        file.write_text(f"127.0.0.1:1={first}\n127.0.0.1:2={second}\n")
        right = await health_when(url, lambda health: len(hotkeys(health)) == 2)
        assert (hotkeys(right), right["metagraph_error"]) == ([first, second], None)


async def test_sighup_has_the_settings_read_again(tmp_path: Path) -> None:
    make_wallet(tmp_path / "wallets", "validator")
    first, second = keypair("miner0").ss58_address, keypair("miner1").ss58_address
    dotenv = tmp_path / ".env"
    dotenv.write_text(f"CONSTANTINOPLE_MINERS=127.0.0.1:1={first}\n")
    async with gateway_process(tmp_path) as (process, url), asyncio.timeout(HANG_S):
        assert hotkeys(await health_when(url, hotkeys)) == [first]
        dotenv.write_text("CONSTANTINOPLE_MINERS=nonsense\n")
        process.send_signal(signal.SIGHUP)
        async with aiohttp.ClientSession() as session:
            failed = 'constantinople_gateway_errors_total{subject="settings"} 1.0'
            text = ""
            while failed not in text:
                async with session.get(f"{url}/metrics") as answer:
                    text = await answer.text()
        assert hotkeys(await health_when(url, hotkeys)) == [first]
        dotenv.write_text(f"CONSTANTINOPLE_MINERS=127.0.0.1:2={second}\nCONSTANTINOPLE_ANONYMOUS=false\n")
        process.send_signal(signal.SIGHUP)
        await health_when(url, lambda health: hotkeys(health) == [second])
        with pytest.raises(openai.AuthenticationError):
            await client(url).chat.completions.create(**CHAT)


@asynccontextmanager
async def chain_node(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[str]:
    """A local chain node and its address; the SDK's caches go to `tmp_path`."""
    for variable in ("HOME", "BITTENSOR_RUNTIME_CACHE_DIR", "BTCLI_TOKEN_SYMBOLS_CACHE"):
        monkeypatch.setenv(variable, str(tmp_path / variable.lower()))
    argv = ("--port", "0", "--block-seconds", "0", "--state-dir", str(tmp_path / "chain"))
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "localnet.chain_node", *argv, stdout=PIPE, cwd=REPOSITORY
    )
    assert process.stdout is not None
    try:
        async with asyncio.timeout(HANG_S):
            while not (line := (await process.stdout.readline()).decode()).startswith("listening on"):
                assert line, "the chain node did not start"
        yield line.split()[-1]
    finally:
        process.terminate()
        await process.wait()


async def test_miners_are_discovered_on_a_real_chain(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    validator = make_wallet(tmp_path / "wallets", "validator")
    wallet = make_wallet(tmp_path / "wallets", "miner")
    async with (
        chain_node(tmp_path, monkeypatch) as node,
        ScriptedMiner(wallet.hotkey, validator.hotkey.ss58_address).serving() as miner,
    ):
        for owner in (validator, wallet):
            await dev_client.fund(node, owner.coldkeypub.ss58_address, 10**12)
            await dev_client.fund(node, owner.hotkey.ss58_address, 10**12)
            await dev_client.register_neuron(
                node, NETUID, owner.hotkey.ss58_address, owner.coldkeypub.ss58_address
            )
        host, port = miner.address.split(":")
        chain = SubtensorChain(node, NETUID, wallet)
        await chain.serve_axon(host, int(port))
        await chain.close()
        async with gateway_process(tmp_path, "--discover", "--network", node) as (_, url):
            health = await callable_miners(url)
            answer = await client(url).chat.completions.create(**CHAT)
    assert answer.choices[0].message.content
    assert (health["status"], health["metagraph_error"]) == ("ok", None)
    assert [entry["hotkey"] for entry in health["miners"]] == [wallet.hotkey.ss58_address]
    (record,) = records(tmp_path)
    assert (record.outcome, record.miner_hotkey) == ("answered", wallet.hotkey.ss58_address)
    assert record.gateway_hotkey == validator.hotkey.ss58_address


async def test_a_chain_that_is_away_is_told_and_the_gateway_stays_up(tmp_path: Path) -> None:
    make_wallet(tmp_path / "wallets", "validator")
    flags = ("--discover", "--network", "ws://127.0.0.1:1")
    async with gateway_process(tmp_path, *flags) as (_, url), asyncio.timeout(HANG_S):
        async with aiohttp.ClientSession() as session:
            health: dict[str, Any] = {"metagraph_error": None}
            while health["metagraph_error"] is None:
                async with session.get(f"{url}/health") as answer:
                    health = await answer.json()
        assert "ws://127.0.0.1:1" in health["metagraph_error"]
        with pytest.raises(openai.InternalServerError) as caught:
            await client(url).chat.completions.create(**CHAT)
        assert caught.value.code == "no_miner_available"


async def test_a_gateway_under_systemd_says_when_it_serves_lives_and_ends(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_wallet(tmp_path / "wallets", "validator")
    hotkey = keypair("miner0").ss58_address
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
        systemd.bind(str(tmp_path / "notify"))
        systemd.setblocking(False)
        monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
        monkeypatch.setenv("WATCHDOG_USEC", "600000")
        loop = asyncio.get_running_loop()
        async with gateway_process(tmp_path, "--miners", f"127.0.0.1:1={hotkey}") as (process, _):
            async with asyncio.timeout(HANG_S):
                heard = [await loop.sock_recv(systemd, 100) for _ in range(3)]
                process.send_signal(signal.SIGTERM)
                while heard[-1] != b"STOPPING=1":
                    heard.append(await loop.sock_recv(systemd, 100))
        assert heard[0] == b"READY=1"
        assert set(heard[1:-1]) == {b"WATCHDOG=1"}
