"""A Dockerfile as its instructions, and the image that it describes as folders of this machine."""

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from localnet.config import PROJECT_ROOT
from shared.canonical import sha256_hex

DOCKERFILE = PROJECT_ROOT / "Dockerfile.validator"
IMAGES = PROJECT_ROOT / ".localnet" / "images"
VENV = "/opt/venv"


@dataclass(frozen=True)
class Instruction:
    """One instruction, with its stage (0 for the first) and the rest of its line."""

    stage: int
    name: str
    rest: str


def instructions(text: str) -> list[Instruction]:
    """All instructions, continuation lines joined, comments left out; those before FROM are of stage -1."""
    lines = [line for line in text.splitlines() if not line.lstrip().startswith("#")]
    joined = re.sub(r"\\\n\s*", "", "\n".join(lines))
    found, stage = [], -1
    for line in filter(str.strip, joined.splitlines()):
        name, _, rest = line.partition(" ")
        stage += name == "FROM"
        found.append(Instruction(stage, name, rest.strip()))
    return found


def of(found: Sequence[Instruction], name: str, stage: int) -> list[str]:
    """What follows `name` in the instructions of a stage."""
    return [one.rest for one in found if one.name == name and one.stage == stage]


class UnpackedImage:
    """The image of Dockerfile.validator without an engine: its packages and its files, in folders.

    `folder` gets what a container sees at `/`; the packages are installed once for all tests, by the very
    command that stands in the Dockerfile.
    """

    def __init__(self, folder: Path) -> None:
        self._found = instructions(DOCKERFILE.read_text())
        self._folder, self._venv = folder, _installed(self._found)
        self.state, self.wallets, self.app = folder / "state", folder / "wallets", folder / "app"
        for made in (self.state, self.wallets, self.app):
            made.mkdir()
        for source, target in (copy.split() for copy in of(self._found, "COPY", 1) if "--from" not in copy):
            ignored = shutil.ignore_patterns("__pycache__", "*.pyc")
            shutil.copytree(PROJECT_ROOT / source, self.app / target, ignore=ignored)

    def environment(self) -> dict[str, str]:
        """The environment that the image sets, with its paths in `folder`."""
        (line,) = of(self._found, "ENV", 1)
        set_by_image = dict(pair.split("=", 1) for pair in re.split(r"\s+", line))
        return {name: self._inside(value) for name, value in set_by_image.items()}

    def _inside(self, value: str) -> str:
        value = value.replace("$PATH", os.defpath).replace("${REVISION}", "abc123")
        value = value.replace(VENV, str(self._venv))
        for place in ("/state", "/wallets"):
            value = value.replace(place, str(self._folder / place[1:])) if value == place else value
        return value

    def command(self, *arguments: str) -> list[str]:
        """What a container runs, with these arguments."""
        (entry,) = of(self._found, "ENTRYPOINT", 1)
        return [*self._program(json.loads(entry)), *arguments]

    def health_command(self) -> list[str]:
        """What the engine runs to see whether a container is healthy."""
        (check,) = of(self._found, "HEALTHCHECK", 1)
        return self._program(json.loads(check.split(" CMD ", 1)[1]))

    def _program(self, words: list[str]) -> list[str]:
        program = shutil.which(words[0], path=self.environment()["PATH"])
        assert program is not None, words
        return [program, *words[1:]]

    def run(self, command: list[str], **more: str) -> "subprocess.CompletedProcess[str]":
        """Run a command in the image to its end."""
        environment = self.environment() | more
        return subprocess.run(
            command, cwd=self.app, env=environment, capture_output=True, text=True, check=False, timeout=300
        )


def _installed(found: Sequence[Instruction]) -> Path:
    """The packages, installed as the first stage says, in a folder that is kept between runs."""
    (copied,) = (copy.split() for copy in of(found, "COPY", 0))
    requirements = PROJECT_ROOT / copied[0]
    steps = of(found, "RUN", 0)
    digest = sha256_hex(requirements.read_bytes() + "\n".join(steps).encode() + sys.version.encode())[:16]
    venv = IMAGES / digest
    done = venv / "installed"
    if not done.exists():
        shutil.rmtree(IMAGES, ignore_errors=True)
        for step in steps:
            command = step.replace(VENV, str(venv)).replace(copied[1], str(requirements))
            _shell(command)
        done.touch()
    return venv


def _shell(command: str) -> None:
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    done = subprocess.run(
        ["sh", "-euc", command], env=os.environ | {"PATH": path}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
