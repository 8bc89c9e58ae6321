"""`python -m bench.reaudit_noise`: how far one computation of the reference is from another."""

import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from bench.plain_table import plain
from shared.config import at_least, exit_on_config_error, load, setting
from shared.errors import ConfigError

DESCRIPTION = (
    "Let honest miners and some with noise in their hidden states answer requests of the demo model, audit "
    "each answer with the reference computed in several ways, and compare what the audits come to."
)
_PROJECT = Path(__file__).resolve().parent.parent


@dataclass(frozen=True)
class Condition:
    """One way to compute the reference: a process's environment, and how it works."""

    threads: int = 2
    at_once: int = 1
    dtype: str = "float32"
    environment: Mapping[str, str] = field(default_factory=dict)


OLD_PROCESSOR = {"ATEN_CPU_CAPABILITY": "default", "ONEDNN_MAX_CPU_ISA": "SSE41", "MKL_CBWR": "COMPATIBLE"}
"""Kernels without AVX2 and AVX-512, as on another processor."""

CONDITIONS: Mapping[str, Condition] = {
    "one thread": Condition(threads=1),
    "eight audits at once": Condition(at_once=8),
    "another processor": Condition(environment=OLD_PROCESSOR),
    "bfloat16": Condition(dtype="bfloat16"),
}
"""Each is held against float32 on two threads, one audit at a time."""

IN_BFLOAT16: Mapping[str, Condition] = {
    "bfloat16, one thread": Condition(threads=1, dtype="bfloat16"),
    "bfloat16, eight at once": Condition(at_once=8, dtype="bfloat16"),
    "bfloat16, another processor": Condition(dtype="bfloat16", environment=OLD_PROCESSOR),
}
"""Held against bfloat16 on two threads, one audit at a time."""


@dataclass(frozen=True)
class ReauditNoiseConfig:
    """How much is measured."""

    audits: int = setting(48, "answers that are audited in each way", at_least(4))
    tokens: int = setting(32, "output tokens of each answer, at most", at_least(8))
    seed: int = setting(1, "seed of everything that is drawn", at_least(0))


def run(config: ReauditNoiseConfig, say: Callable[[str], None]) -> None:
    """Measure and print.

    Raises:
        ConfigError: one way could not be measured.
    """
    from bench.reaudit_answers import make_answers
    from bench.reaudit_distances import HEAD, compare

    with tempfile.TemporaryDirectory(prefix="constantinople-bench-") as scratch:
        folder = Path(scratch)
        make_answers(folder / "answers.json", config.audits, config.tokens, config.seed, _progress)
        rows = []
        for measure, conditions in ((Condition(), CONDITIONS), (CONDITIONS["bfloat16"], IN_BFLOAT16)):
            stated = _audited(folder, measure)
            for name, condition in conditions.items():
                rows += compare(name, stated, _audited(folder, condition))
    say(plain(HEAD, rows))


def _progress(words: str) -> None:
    print(words, file=sys.stderr, flush=True)


def _audited(folder: Path, condition: Condition) -> str:
    """The verdicts of one condition, found in a process of its own, as JSON."""
    _progress(f"auditing: {condition}")
    output = folder / "verdicts.json"
    told = [str(condition.threads), str(condition.at_once), condition.dtype]
    files = [str(folder / "answers.json"), str(output)]
    command = [sys.executable, "-m", "bench.reaudit_answers", *files, *told]
    environment = {**os.environ, **condition.environment}
    if status := subprocess.run(command, cwd=_PROJECT, env=environment, check=False).returncode:
        raise ConfigError(f"auditing ended with status {status}")
    return output.read_text()


def main() -> int:
    """Measure and print."""
    run(load(ReauditNoiseConfig, DESCRIPTION, prog="python -m bench.reaudit_noise"), print)
    return 0


if __name__ == "__main__":
    exit_on_config_error(main)
