"""Start the gateway: `python validator/hardened_gateway.py --port 8081 --model … --netuid 97 --discover`."""

import sys
from pathlib import Path

sys.path[0] = str(Path(__file__).resolve().parent.parent)

from gateway.config import load_config  # noqa: E402
from shared.config import exit_on_config_error  # noqa: E402


def main() -> int:
    """Read the flags, then import what takes time, then run."""
    config, worker = load_config(), None

    from shared.logs import set_up_logs

    set_up_logs(config.log_level, config.log_format)
    if config.workers > 1:
        from gateway.workers import supervise

        worker = supervise(config)
        config = worker.config

    from gateway.process import run

    return run(config, load_config, worker.number if worker else None)


if __name__ == "__main__":
    exit_on_config_error(main)
