"""`python -m validator.calibrate --model M`: makes the calibration file of a model, in two stages.

statistics: mean and deviation of every dimension, from the reference model alone. Miners need no more.
noise: how far an honest miner lies from the reference, and the limits drawn from that. Auditors need it.
"""

import os
import signal
import sys

from shared.config import exit_on_config_error, load
from shared.errors import ConstantinopleError
from validator.calibration_config import DESCRIPTION, CalibrateConfig, check_config

TERMINATED = 128 + signal.SIGTERM
"""Exit status of a process that was asked to end, as shells count it."""


def main() -> int:
    """Calibrate; one sentence and status 1 when it fails."""
    config = load(CalibrateConfig, DESCRIPTION, prog="python -m validator.calibrate")
    check_config(config)
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    from validator.calibration_run import calibrate

    try:
        return 0 if calibrate(config) else TERMINATED
    except ConstantinopleError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    exit_on_config_error(main)
