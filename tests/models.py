"""Models for tests, built once into `.localnet/models` and kept there between runs."""

import os
from pathlib import Path

from localnet.config import PROJECT_ROOT
from localnet.demo_model import DEMO_MODEL, build_demo_model, build_tiny_model

MODELS = PROJECT_ROOT / ".localnet" / "models"
TINY_MODEL = "tiny-qwen2"


def demo_model() -> Path:
    """The demo model's folder."""
    return build_demo_model(MODELS / DEMO_MODEL)


def tiny_model() -> Path:
    """The tiny random Qwen2's folder."""
    folder = MODELS / TINY_MODEL
    if not (folder / "config.json").exists():
        partial = build_tiny_model(folder.with_name(f"{TINY_MODEL}.{os.getpid()}"), demo_model())
        partial.rename(folder)
    return folder
