"""Start the watchtower: `python validator/watchtower.py --source … --wallet … --hotkey … --netuid 97`."""

import sys
from pathlib import Path

sys.path[0] = str(Path(__file__).resolve().parent.parent)

from shared.config import exit_on_config_error  # noqa: E402
from validator.clock import unix_ms  # noqa: E402
from validator.watchtower_config import load_config  # noqa: E402
from validator.watchtower_health import health  # noqa: E402


def main() -> int:
    """Read the flags, then import what takes time, then run."""
    config = load_config()
    if config.health:
        well, why = health(config.state_dir, unix_ms())
        print(why)
        return 0 if well else 1

    from shared.logs import set_up_logs
    from validator.watchtower_start import run

    set_up_logs()
    return run(config)


if __name__ == "__main__":
    exit_on_config_error(main)
