"""Log lines: time, level, subject, words."""

import logging
import sys


def set_up_logs(level: str = "INFO") -> None:
    """Send records of `level` and above to standard error, one line each."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)-7s %(name)s: %(message)s"))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level)
    for noisy in ("httpx", "httpcore", "websockets", "botocore", "urllib3"):
        logging.getLogger(noisy).setLevel(logging.WARNING)
