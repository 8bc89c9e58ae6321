"""What begins once the engine is ready, with an engine's stand-in: presence, alerts, metrics, systemd."""

import asyncio
import socket
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from prometheus_client import REGISTRY, generate_latest

from miners.admission import Admission
from miners.commitment_store import CommitmentStore
from miners.config import MinerConfig
from miners.front import SERVICE
from miners.hidden_states import endpoint
from miners.hidden_states.endpoint import BUILDER, PREPARED, HiddenStateEndpoint
from miners.service import stock_service
from shared.canonical import sha256_hex
from shared.challenges import ReplayPoint
from tests.miners.test_service import Capture
from tests.shared.keys import MINER

DEADLINE_S = 60.0


class StandIn(Capture):
    """An engine's capture that counts its replays, and hangs when told to."""

    def __init__(self, engine_client: Any) -> None:
        super().__init__()
        self.replays, self.hangs = 0, False

    async def install(self, calibration: Path) -> None:
        """Nothing has to be installed."""

    async def replay(self, token_ids: Any, points: Any) -> list[bytes]:
        if self.hangs:
            await asyncio.Event().wait()
        self.replays += 1
        return [bytes(16) for _ in points]


def prepared() -> Any:
    point = ReplayPoint(position=0, layer=1)
    return SimpleNamespace(
        config=MinerConfig(served_model_name="tiny", network="ws://127.0.0.1:1"),
        wallet=None,
        signer=MINER,
        admission=Admission([]),
        calibration_file=Path("none"),
        calibration=SimpleNamespace(digest=sha256_hex(b"calibration")),
        commitments=CommitmentStore(1 << 20, 100.0, lambda: 0.0),
        reference=SimpleNamespace(token_ids=[1, 2, 3], points=[point, point]),
        engine_end=SimpleNamespace(watch=lambda engine: None),
    )


async def begun(monkeypatch: pytest.MonkeyPatch, captures: list[StandIn]) -> Any:
    """The application's state after the start."""

    def capture(engine_client: Any) -> StandIn:
        captures.append(StandIn(engine_client))
        return captures[-1]

    monkeypatch.setattr(endpoint, "EngineCapture", capture)
    monkeypatch.setattr(endpoint, "set_up_logs", lambda: None)
    monkeypatch.setattr(endpoint, "check_replay", lambda *given: "as honest engines do")
    state: Any = SimpleNamespace()
    arguments: Any = SimpleNamespace(**{PREPARED: prepared(), BUILDER: stock_service})
    engine = SimpleNamespace(check_health=None)
    await HiddenStateEndpoint().init_state(engine, state, arguments)
    return state


async def end(state: Any) -> None:
    tasks = [state.presence, state.alerts, state.heartbeat]
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    REGISTRY.unregister(getattr(state, SERVICE).metrics)


async def test_a_miner_begins_with_presence_metrics_and_alerts(monkeypatch: pytest.MonkeyPatch) -> None:
    state = await begun(monkeypatch, [])
    try:
        async with asyncio.timeout(DEADLINE_S):
            while b'constantinople_miner_trouble{subject="chain"} 1.0' not in generate_latest(REGISTRY):
                await asyncio.sleep(0.01)
        assert not any(task.done() for task in (state.presence, state.alerts, state.heartbeat))
    finally:
        await end(state)


async def test_systemd_is_told_that_a_miner_lives_only_while_its_engine_replays(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
    monkeypatch.setenv("WATCHDOG_USEC", "60000")
    monkeypatch.setattr(endpoint, "ENGINE_DEADLINE_S", 0.01)
    captures: list[StandIn] = []
    loop = asyncio.get_running_loop()
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
        systemd.bind(str(tmp_path / "notify"))
        systemd.setblocking(False)
        state = await begun(monkeypatch, captures)
        try:
            async with asyncio.timeout(DEADLINE_S):
                assert await loop.sock_recv(systemd, 100) == b"READY=1"
                assert await loop.sock_recv(systemd, 100) == b"WATCHDOG=1"
            (capture,) = captures
            capture.hangs = True
            await failed_checks(caplog, 1)
            heard(systemd)
            await failed_checks(caplog, 3)
            assert heard(systemd) == []
        finally:
            await end(state)
        assert heard(systemd) == [b"STOPPING=1"]


async def failed_checks(caplog: pytest.LogCaptureFixture, count: int) -> None:
    """Wait until so many checks have failed."""
    async with asyncio.timeout(DEADLINE_S):
        while caplog.text.count("does not do its work") < count:
            await asyncio.sleep(0.005)


def heard(systemd: socket.socket) -> list[bytes]:
    """Everything that was said and not yet heard."""
    states = []
    while True:
        try:
            states.append(systemd.recv(100))
        except BlockingIOError:
            return states
