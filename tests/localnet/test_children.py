import asyncio
import os
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from localnet import children as children_module
from localnet.children import Children
from localnet.errors import LocalnetError

SLEEPER = "import time; print('up', flush=True); time.sleep(600)"
STUBBORN = "import signal, time; signal.signal(15, signal.SIG_IGN); print('up', flush=True); time.sleep(600)"
PARENT = (
    "import subprocess, sys, time;"
    "c = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)']);"
    "print(c.pid, flush=True); time.sleep(600)"
)


@pytest.fixture
async def children(tmp_path: Path) -> AsyncIterator[Children]:
    started = Children(tmp_path / "logs", tmp_path)
    yield started
    await started.stop_all()


async def printed(log: Path) -> str:
    while not (text := log.read_text()):
        await asyncio.sleep(0.01)
    return text.strip()


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return Path(f"/proc/{pid}/stat").read_text().split(")")[1].split()[0] != "Z"


async def test_a_child_prints_into_its_own_log(children: Children, tmp_path: Path) -> None:
    await children.start("one", [sys.executable, "-c", SLEEPER], os.environ)
    assert await printed(tmp_path / "logs" / "one.log") == "up"
    children.check()


async def test_a_dead_child_is_named_with_its_status_and_last_words(children: Children) -> None:
    program = "print('the reason', flush=True); raise SystemExit(3)"
    child = await children.start("one", [sys.executable, "-c", program], os.environ)
    await child.process.wait()
    with pytest.raises(LocalnetError, match=r"one stopped with status 3[\s\S]*the reason"):
        children.check()


async def test_stopping_ends_grandchildren_too(children: Children, tmp_path: Path) -> None:
    child = await children.start("one", [sys.executable, "-c", PARENT], os.environ)
    grandchild = int(await printed(tmp_path / "logs" / "one.log"))
    assert alive(grandchild)
    await children.stop_all()
    assert child.ended
    while alive(grandchild):
        await asyncio.sleep(0.01)


async def test_a_child_that_ignores_the_polite_signal_is_ended_all_the_same(
    children: Children, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(children_module, "STOP_GRACE_S", 0.1)
    child = await children.start("one", [sys.executable, "-c", STUBBORN], os.environ)
    await printed(tmp_path / "logs" / "one.log")
    await children.stop_all()
    assert child.process.returncode == -9


async def test_a_child_does_not_outlive_a_parent_that_is_killed_outright(tmp_path: Path) -> None:
    program = f"""
import asyncio, os, sys
from pathlib import Path
from localnet.children import Children
async def main():
    children = Children(Path({str(tmp_path)!r}), Path({str(tmp_path)!r}))
    child = await children.start("one", [sys.executable, "-c", {SLEEPER!r}], os.environ)
    print(child.process.pid, flush=True)
    await asyncio.sleep(600)
asyncio.run(main())
"""
    parent = await asyncio.create_subprocess_exec(
        sys.executable, "-c", program, stdout=asyncio.subprocess.PIPE, cwd=Path.cwd()
    )
    assert parent.stdout is not None
    pid = int(await parent.stdout.readline())
    await printed(tmp_path / "one.log")
    parent.kill()
    await parent.wait()
    while alive(pid):
        await asyncio.sleep(0.01)
