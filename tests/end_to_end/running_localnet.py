"""A whole subnet for tests: started as a user would, on ports of its own, kept up until it is interrupted."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from localnet.config import PROJECT_ROOT, LocalnetConfig
from localnet.free_ports import with_ports_chosen
from tests.end_to_end.public_bucket import BUCKET, PublicBucket

FOLDER = PROJECT_ROOT / ".localnet" / "end-to-end"

START_DEADLINE_S = 900
STOP_DEADLINE_S = 120


@dataclass
class RunningLocalnet:
    """The supervisor's process, its settings, and the report that it printed."""

    process: "subprocess.Popen[str]"
    config: LocalnetConfig
    report: dict[str, Any]
    progress_file: Path

    def interrupt(self) -> int:
        """Press Ctrl-C and wait; gives the exit status."""
        self.process.send_signal(signal.SIGINT)
        return self.process.wait(STOP_DEADLINE_S)


def start_localnet(folder: Path, bucket: PublicBucket) -> RunningLocalnet:
    """Start the subnet, which publishes into `bucket`, and wait for its first epoch's report.

    Raises:
        AssertionError: it ended before that; the message is what it said.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for shared_with_users in ("models", "cache"):
        source = PROJECT_ROOT / ".localnet" / shared_with_users
        source.mkdir(parents=True, exist_ok=True)
        link = folder / shared_with_users
        if not link.exists():
            link.symlink_to(source)
    config = with_ports_chosen(
        LocalnetConfig(
            folder=folder,
            port=0,
            auditor_port=0,
            chain_port=0,
            miner_port=0,
            epoch_seconds=75.0,
            store=f"s3://{BUCKET}",
            store_endpoint=bucket.endpoint,
            store_url=bucket.url,
        )
    )
    progress_file = folder / "progress.log"
    with progress_file.open("w") as progress:
        process = subprocess.Popen(
            [sys.executable, "-m", "localnet", "up", "--json", *_flags(config)],
            stdout=subprocess.PIPE,
            stderr=progress,
            text=True,
            cwd=PROJECT_ROOT,
            env=os.environ | {"PYTHONUNBUFFERED": "1"},
        )
    assert process.stdout is not None
    line = process.stdout.readline()
    assert line, f"localnet ended with {process.wait()}:\n{progress_file.read_text()}"
    return RunningLocalnet(process, config, json.loads(line), progress_file)


def _flags(config: LocalnetConfig) -> list[str]:
    assert config.store_endpoint
    return [
        *(
            "--store",
            config.store,
            "--store-endpoint",
            config.store_endpoint,
            "--store-url",
            config.store_url,
        ),
        *("--folder", str(config.folder), "--epoch-seconds", f"{config.epoch_seconds:g}"),
        *("--port", str(config.port), "--auditor-port", str(config.auditor_port)),
        *("--chain-port", str(config.chain_port), "--miner-port", str(config.miner_port)),
    ]


def processes_mentioning(folder: Path) -> list[str]:
    """Command lines of running processes that name `folder`."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) != os.getpid():
            try:
                command = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
            except OSError:
                continue
            if str(folder) in command:
                found.append(command)
    return found


def wait_for(localnet: RunningLocalnet, what: Callable[[], bool], seconds: float = 400) -> None:
    """Look again and again, as long as the subnet is up."""
    ends_at = time.monotonic() + seconds
    while not what():
        assert localnet.process.poll() is None, localnet.progress_file.read_text()
        assert time.monotonic() < ends_at
        time.sleep(0.5)
