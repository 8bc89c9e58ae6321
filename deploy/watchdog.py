"""Start the watchdog under PM2: `python deploy/watchdog.py --url … --pid-file … --program …`."""

import sys
from pathlib import Path

sys.path[0] = str(Path(__file__).resolve().parent.parent)

from shared.config import exit_on_config_error  # noqa: E402
from shared.watchdog import main  # noqa: E402

if __name__ == "__main__":
    exit_on_config_error(main)
