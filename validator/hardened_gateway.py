"""Start the gateway: `python validator/hardened_gateway.py --port 8081 --model … --netuid 97 --discover`."""

import sys
from pathlib import Path

sys.path[0] = str(Path(__file__).resolve().parent.parent)

from gateway.config import load_config  # noqa: E402
from shared.config import exit_on_config_error  # noqa: E402


def main() -> int:
    """Read the flags, then import what takes time, then run."""
    config = load_config()

    from gateway.process import run
    from shared.logs import set_up_logs

    set_up_logs(config.log_level, config.log_format)
    return run(config, load_config)


if __name__ == "__main__":
    exit_on_config_error(main)
