"""`python -m localnet.cheats [FOLDER]`: how far the weights of each cheat are from those in FOLDER."""

import os
import sys
from collections.abc import Iterable, Mapping
from functools import partial
from pathlib import Path

from localnet.cheats.noise import with_noise
from localnet.cheats.rewriting import WeightChange
from localnet.cheats.rounding import round_to_fp8, round_to_int4, round_to_int8
from localnet.cheats.weight_change import change_size, storage_rounding
from localnet.config import PROJECT_ROOT
from localnet.demo_model import DEMO_MODEL, build_demo_model
from localnet.roles import ROLES, Role, role_model
from shared.errors import ModelError

MODELS = PROJECT_ROOT / ".localnet" / "models"

OF_EVERY_MATRIX: Mapping[str, WeightChange] = {
    "int8": lambda _, weight: round_to_int8(weight),
    "fp8": lambda _, weight: round_to_fp8(weight),
    "int4": lambda _, weight: round_to_int4(weight),
    "noise-0.3": partial(with_noise, relative=0.003),
    "noise-1": partial(with_noise, relative=0.01),
    "noise-3": partial(with_noise, relative=0.03),
}


def table(true_model: Path, models: Path, roles: Iterable[Role]) -> list[str]:
    """One line for each role that serves other weights; writes those that `models` doesn't hold yet.

    Raises:
        ModelError: a role's weights can't be made from this model's.
    """
    lines = [f"{'role':<14} {'matrices changed':>16}  {'change':>8}  {'of it by storage':>16}"]
    for role in roles:
        if role.write_model is None:
            continue
        size = change_size(true_model, role_model(role, true_model, models, _progress))
        count = f"{size.changed} of {size.matrices}"
        line = f"{role.name:<14} {count:>16}  {size.relative:>8.3%}"
        if role.name in OF_EVERY_MATRIX:
            line += f"  {storage_rounding(true_model, OF_EVERY_MATRIX[role.name]):>16.3%}"
        lines.append(line)
    return lines


def _progress(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def main() -> int:
    """Print the table for the folder that the command line names, or for the demo model."""
    if len(sys.argv) > 2 or sys.argv[1:] in (["-h"], ["--help"]):
        print(__doc__, file=sys.stderr)
        return 2
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    try:
        folder = Path(sys.argv[1]).resolve() if sys.argv[1:] else build_demo_model(MODELS / DEMO_MODEL)
        print("\n".join(table(folder, MODELS, ROLES.values())))
    except ModelError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
