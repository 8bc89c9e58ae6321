"""What a localnet miner may do: serve the true model, or cheat in one of many ways under its name.

A cheat with weights needs no code at all: it is an operator who points the stock miner at a folder of other
weights with the true model's public name and calibration file. A cheat by behaviour is run by
`localnet.cheating_miner`.
"""

import os
import shutil
from dataclasses import dataclass
from pathlib import Path

from localnet.cheating_miner.behaviours import BEHAVIOURS
from localnet.cheats.fine_tuning import FINE_TUNE, OTHER_MODEL, writes_trained
from localnet.cheats.layers import write_layer_dropped_model, write_suffix_model
from localnet.cheats.noise import writes_noisy
from localnet.cheats.rewriting import Say, WriteModel, quiet
from localnet.cheats.rounding import write_fp8_model, write_int4_model, write_int8_model
from localnet.errors import LocalnetError


@dataclass(frozen=True)
class Role:
    """One way to run a miner."""

    name: str
    honest: bool
    summary: str
    write_model: WriteModel | None = None
    """Writes the weights that this role serves, from the true model's; None serves the true ones."""

    behaviour: str | None = None
    """The cheat that `python -m localnet.cheating_miner --cheat` runs; None runs the stock miner."""


ROLES = {
    role.name: role
    for role in (
        Role("honest", True, "serves the true model"),
        Role("int8", False, "serves weights rounded to 8 bits, a scale an output channel", write_int8_model),
        Role("fp8", False, "serves weights rounded to float8 e4m3, a scale a tensor", write_fp8_model),
        Role("int4", False, "serves weights rounded to 4 bits in groups of 32", write_int4_model),
        Role("noise-0.3", False, "serves weights with 0.3 % of Gaussian noise", writes_noisy(0.003)),
        Role("noise-1", False, "serves weights with 1 % of Gaussian noise", writes_noisy(0.01)),
        Role("noise-3", False, "serves weights with 3 % of Gaussian noise", writes_noisy(0.03)),
        Role("fine-tuned", False, "serves the model after a short real fine-tune", writes_trained(FINE_TUNE)),
        Role(
            "other-model",
            False,
            "serves a model trained until it answers otherwise",
            writes_trained(OTHER_MODEL),
        ),
        Role("layer-dropped", False, "leaves out the middle layer", write_layer_dropped_model),
        Role("suffix", False, "serves 4-bit weights in the upper third of the layers", write_suffix_model),
        *(Role(name, False, cheat.summary, behaviour=name) for name, cheat in BEHAVIOURS.items()),
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


def role_model(role: Role, true_model: Path, models: Path, say: Say = quiet) -> Path:
    """The folder that a role serves, written on first use; its last part is the true model's name.

    Raises:
        ModelError: the role's weights can't be made from the true model's.
    """
    if role.write_model is None:
        return true_model
    target = models / role.name / true_model.name
    if not (target / "config.json").exists():
        partial = target.with_name(target.name + ".partial")
        shutil.rmtree(partial, ignore_errors=True)
        partial.parent.mkdir(parents=True, exist_ok=True)
        say(f"writing the weights that the {role.name} miner serves")
        role.write_model(true_model, partial, say)
        os.rename(partial, target)  # noqa: PTH104  a folder that is whole or absent
    return target
