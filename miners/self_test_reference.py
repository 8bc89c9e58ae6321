"""The self-test's reference: computed once per model in a process of its own, then kept on disk."""

import logging
import subprocess
import sys
from pathlib import Path

from miners.self_test import SelfTestReference
from shared.errors import ModelError

log = logging.getLogger(__name__)

PROJECT_ROOT = Path(__file__).resolve().parent.parent

REFERENCE_DEADLINE_S = 1800.0
"""Loading a 7B model and one short pass take minutes on a slow disk, not half an hour."""


def reference_file(state_dir: Path, model_digest: str) -> Path:
    """Where the reference of a model is kept."""
    return state_dir / "self-test" / f"{model_digest}.safetensors"


def self_test_reference(model: str, device: str, file: Path) -> SelfTestReference:
    """The reference for the self-test, from `file` or computed now.

    Raises:
        ModelError: it can't be computed; the message holds the last words of the attempt.
    """
    kept = SelfTestReference.read(file)
    if kept is not None:
        log.info("self-test: the reference is at %s", file)
        return kept
    log.info(
        "self-test: computing the reference on %s, once; this loads the model and frees it again", device
    )
    file.parent.mkdir(parents=True, exist_ok=True)
    _compute(model, device, file)
    computed = SelfTestReference.read(file)
    if computed is None:
        raise ModelError(f"the self-test's reference at {file} is damaged; delete it and start again")
    return computed


def _compute(model: str, device: str, file: Path) -> None:
    command = [sys.executable, "-m", "miners.self_test", model, device, str(file)]
    try:
        done = subprocess.run(
            command,
            cwd=PROJECT_ROOT,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            timeout=REFERENCE_DEADLINE_S,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise ModelError(f"the self-test's reference took more than {REFERENCE_DEADLINE_S:g} s") from None
    if done.returncode != 0:
        reason = done.stderr.strip().splitlines()[-1:] or ["it said nothing; the machine may lack memory"]
        raise ModelError(f"the self-test's reference failed with status {done.returncode}: {reason[0]}")
