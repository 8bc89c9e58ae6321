"""Start the watchtower: `python validator/watchtower.py --source … --wallet … --hotkey … --netuid 97`."""

import sys
from pathlib import Path

sys.path[0] = str(Path(__file__).resolve().parent.parent)

from shared.config import exit_on_config_error  # noqa: E402
from validator.watchtower_config import load_config  # noqa: E402


def main() -> int:
    """Read the flags, then import what takes time, then run."""
    config = load_config()

    from shared.logs import set_up_logs
    from validator.watchtower_start import run

    set_up_logs()
    return run(config)


if __name__ == "__main__":
    exit_on_config_error(main)
