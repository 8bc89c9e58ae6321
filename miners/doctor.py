"""Look the miner over: `python -m miners.doctor` with the flags and .env that it is started with.

Prints what it finds and what to do about it. Exit status 0: all well; 1: something has to be done; 2: a flag
is wrong. It changes nothing, and may be run beside the miner as often as one likes.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from miners.config import MinerConfig
from shared.config import between, exit_on_config_error, load_with_rest, setting

DESCRIPTION = (
    "Look the miner over, before or while it runs; takes the flags that it is started with, vLLM's too. "
    "Exit status: 0 all well, 1 something has to be done, 2 wrong usage."
)


@dataclass(frozen=True)
class DoctorConfig(MinerConfig):
    """The miner's settings, and the doctor's own."""

    json: bool = setting(False, "print one JSON object instead of text")
    trials: int = setting(
        4, "requests that are sent to the running miner and audited here; 0: none", check=between(0, 100)
    )
    gateway: str | None = setting(
        None, "URL of a gateway to ask whether it can call this miner (default: that of --calibration)"
    )


def load_config(
    argv: Sequence[str] | None = None,
    environ: Mapping[str, str] | None = None,
    dotenv: Path | None = None,
) -> tuple[DoctorConfig, list[str]]:
    """The settings, and the flags for vLLM.

    Raises:
        ConfigError: a value is not allowed.
    """
    return load_with_rest(DoctorConfig, DESCRIPTION, argv, environ, dotenv, prog="python -m miners.doctor")


def main(argv: Sequence[str] | None = None) -> int:
    """Read the flags, then import what takes time, then look; the exit status."""
    config, vllm_flags = load_config(argv)

    from miners.doctor_sections import MinerDoctor
    from shared.diagnosis import run_doctor

    return run_doctor(MinerDoctor(config, vllm_flags).sections(), config.json)


if __name__ == "__main__":
    exit_on_config_error(main)
