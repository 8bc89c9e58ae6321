"""Look the gateway over: `python -m gateway.doctor` with the flags and .env that it is started with.

Prints what it finds and what to do about it. Exit status 0: all well; 1: something has to be done; 2: a flag
is wrong. It changes nothing, and may be run beside the gateway as often as one likes.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from gateway.config import GatewayConfig, check_config
from shared.config import exit_on_config_error, load, setting

DESCRIPTION = (
    "Look the gateway over, before or while it runs; takes the flags that it is started with. "
    "Exit status: 0 all well, 1 something has to be done, 2 wrong usage."
)


@dataclass(frozen=True)
class DoctorConfig(GatewayConfig):
    """The gateway's settings, and the doctor's own."""

    json: bool = setting(False, "print one JSON object instead of text")


def load_config(
    argv: Sequence[str] | None = None,
    environ: Mapping[str, str] | None = None,
    dotenv: Path | None = None,
) -> DoctorConfig:
    """The settings.

    Raises:
        ConfigError: a value is not allowed.
    """
    config = load(DoctorConfig, DESCRIPTION, argv, environ, dotenv, prog="python -m gateway.doctor")
    check_config(config)
    return config


def main(argv: Sequence[str] | None = None) -> int:
    """Read the flags, then import what takes time, then look; the exit status."""
    config = load_config(argv)

    from gateway.doctor_sections import GatewayDoctor
    from shared.diagnosis import run_doctor

    return run_doctor(GatewayDoctor(config).sections(), config.json)


if __name__ == "__main__":
    exit_on_config_error(main)
