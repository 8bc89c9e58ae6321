"""Look the audit validator over: `python -m validator.doctor` with the flags and .env of its start.

Prints what it finds and what to do about it. Exit status 0: all well; 1: something has to be done; 2: a flag
is wrong. It changes nothing, and may be run beside the auditor as often as one likes.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from shared.config import exit_on_config_error, load, setting
from validator.audit_config import AuditConfig

DESCRIPTION = (
    "Look the audit validator over, before or while it runs; takes the flags that it is started with. "
    "Exit status: 0 all well, 1 something has to be done, 2 wrong usage."
)


@dataclass(frozen=True)
class DoctorConfig(AuditConfig):
    """The audit validator's settings, and the doctor's own."""

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
    return load(DoctorConfig, DESCRIPTION, argv, environ, dotenv, prog="python -m validator.doctor")


def main(argv: Sequence[str] | None = None) -> int:
    """Read the flags, then import what takes time, then look; the exit status."""
    config = load_config(argv)

    from shared.diagnosis import run_doctor
    from validator.doctor_sections import ValidatorDoctor

    return run_doctor(ValidatorDoctor(config).sections(), config.json)


if __name__ == "__main__":
    exit_on_config_error(main)
