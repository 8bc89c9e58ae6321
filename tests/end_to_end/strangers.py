"""A stranger's command, as somebody would type it, and what it found."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from localnet.config import PROJECT_ROOT

REPLAY_DEADLINE_S = 600


def replay(source: str, folder: Path, *flags: str) -> tuple[int, dict[str, Any]]:
    """What a stranger's command ends with, and its findings."""
    found = folder / "findings.json"
    ended = subprocess.run(
        [sys.executable, "validator/replay.py", "--from", source, "--json", str(found), *flags],
        capture_output=True,
        text=True,
        cwd=PROJECT_ROOT,
        timeout=REPLAY_DEADLINE_S,
    )
    assert found.exists(), ended.stdout + ended.stderr
    return ended.returncode, json.loads(found.read_text())


def failing(findings: dict[str, Any]) -> set[str]:
    return {one["name"] for one in findings["checks"] if one["state"] == "fails"}
