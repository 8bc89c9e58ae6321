"""Audit the auditor: `python validator/replay.py --from https://… --epoch latest`."""

import sys
from pathlib import Path

sys.path[0] = str(Path(__file__).resolve().parent.parent)

from shared.config import exit_on_config_error  # noqa: E402
from validator.replay_config import load_config  # noqa: E402


def main() -> int:
    """Read the flags, then import what takes time, then check."""
    config = load_config()

    from validator.replay_start import run

    return run(config)


if __name__ == "__main__":
    exit_on_config_error(main)
