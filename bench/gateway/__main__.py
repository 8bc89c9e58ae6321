"""`python -m bench.gateway`: what this gateway and others add to a request."""

import signal
import sys
from types import FrameType
from typing import NoReturn

from bench.gateway.config import DESCRIPTION, BenchConfig
from shared.config import exit_on_config_error, load
from shared.errors import ConfigError, ConstantinopleError


def _say(words: str) -> None:
    print(words, flush=True)


def _terminate(number: int, frame: FrameType | None) -> NoReturn:
    raise SystemExit(128 + number)


def main() -> int:
    """Measure; one sentence and status 1 when it fails. Every server is stopped, also after a signal."""
    config = load(BenchConfig, DESCRIPTION, prog="python -m bench.gateway")
    signal.signal(signal.SIGTERM, _terminate)
    from bench.gateway.run import run

    try:
        run(config, _say)
    except ConfigError:
        raise
    except ConstantinopleError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    exit_on_config_error(main)
