"""`python -m bench.incentives`: what strategies earn against honest work."""

import sys

from bench.incentives.config import DESCRIPTION, IncentivesConfig
from shared.config import exit_on_config_error, load
from shared.errors import ModelError


def _say(words: str) -> None:
    print(words, flush=True)


def _tell(words: str) -> None:
    print(words, file=sys.stderr, flush=True)


def main() -> int:
    """Play; status 1 when a strategy pays, or when the calibration can't be read."""
    config = load(IncentivesConfig, DESCRIPTION, prog="python -m bench.incentives")
    from bench.incentives.run import run

    try:
        earned = run(config, _say, _tell)
    except ModelError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return int(any(one.pays for one in earned))


if __name__ == "__main__":
    exit_on_config_error(main)
