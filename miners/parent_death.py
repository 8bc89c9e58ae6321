"""Engine processes must not outlive the miner, whatever ends it: an orphan would hold the GPU's memory."""

import ctypes
import signal
import sys

_PR_SET_PDEATHSIG = 1
"""prctl(2)."""


def end_with_parent() -> None:
    """Have the kernel kill this process when its parent ends; Linux only, elsewhere nothing happens."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
