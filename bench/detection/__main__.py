"""`python -m bench.detection`: which cheats the audits catch, how fast, and at what cost to honest miners."""

import asyncio
import os
import sys

from bench.detection.config import DESCRIPTION, DetectionConfig
from shared.config import exit_on_config_error, load
from shared.errors import ConstantinopleError
from validator.calibrate import TERMINATED


def _say(words: str) -> None:
    print(words, flush=True)


def main() -> int:
    """Measure; one sentence and status 1 when it fails."""
    config = load(DetectionConfig, DESCRIPTION, prog="python -m bench.detection")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    from bench.detection.run import detect
    from validator.calibration_run import until_terminated

    try:
        asyncio.run(until_terminated(detect(config, _say)))
    except (KeyboardInterrupt, asyncio.CancelledError):
        return TERMINATED
    except ConstantinopleError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    exit_on_config_error(main)
