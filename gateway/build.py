"""What runs: the labels of `build_info`."""

import platform
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version

PACKAGE = "constantinople"


def build_labels(model: str, gateway_hotkey: str) -> Mapping[str, str]:
    """Version of the program and of Python, the model, and the gateway's hotkey."""
    try:
        found = version(PACKAGE)
    except PackageNotFoundError:
        found = "unknown"
    return {
        "version": found,
        "python": platform.python_version(),
        "model": model,
        "hotkey": gateway_hotkey,
    }
