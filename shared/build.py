"""What runs: the labels of each process's `build_info`."""

import platform
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version

PACKAGE = "constantinople"


def build_labels(model: str, hotkey: str) -> Mapping[str, str]:
    """Version of the program and of Python, the model, and the process's hotkey."""
    try:
        found = version(PACKAGE)
    except PackageNotFoundError:
        found = "unknown"
    return {
        "version": found,
        "python": platform.python_version(),
        "model": model,
        "hotkey": hotkey,
    }
