"""What a localnet miner may do: serve the true model, or cheat with other weights under its name.

A cheat needs no code in the product: it is an operator who points the stock miner at a folder of other
weights with the true model's public name and calibration file.
"""

import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from localnet.cheats import write_int4_model
from localnet.errors import LocalnetError


@dataclass(frozen=True)
class Role:
    """One way to run a miner."""

    name: str
    honest: bool
    summary: str
    write_model: Callable[[Path, Path], Path] | None
    """Writes the weights that this role serves: (true model's folder, target folder)."""


ROLES = {
    role.name: role
    for role in (
        Role("honest", True, "serves the true model", None),
        Role("int4", False, "serves weights rounded to 4 bits in groups of 32", write_int4_model),
    )
}


def role_named(name: str) -> Role:
    """The role of that name.

    Raises:
        LocalnetError: there is none.
    """
    if name not in ROLES:
        raise LocalnetError(f"there is no miner role {name!r}; --miners takes any of {', '.join(ROLES)}")
    return ROLES[name]


def role_model(role: Role, true_model: Path, models: Path) -> Path:
    """The folder that a role serves, written on first use; its last part is the true model's name."""
    if role.write_model is None:
        return true_model
    target = models / role.name / true_model.name
    if not (target / "config.json").exists():
        partial = target.with_name(target.name + ".partial")
        shutil.rmtree(partial, ignore_errors=True)
        partial.parent.mkdir(parents=True, exist_ok=True)
        role.write_model(true_model, partial)
        os.rename(partial, target)  # noqa: PTH104  a folder that is whole or absent
    return target
