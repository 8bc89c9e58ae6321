"""The rows of the table: every cheat, what it is for, and the engines of the honest rows."""

from dataclasses import dataclass

from localnet.roles import Role, role_named

HONEST = "honest"


@dataclass(frozen=True)
class Row:
    """One row: a role under one kind of engine.

    Attributes:
        name: of the row, unique.
        role: what the miner does.
        condition: the engine's settings (validator.calibration_conditions).
        economy: what the cheat gains or pays, in words.
    """

    name: str
    role: Role
    condition: str
    economy: str

    @property
    def honest(self) -> bool:
        return self.role.honest


_ECONOMY = {
    "int8": "half the weights' memory and, in small batches, up to twice the speed",
    "fp8": "half the weights' memory, up to twice the speed",
    "int4": "a quarter of the weights' memory, up to four times the speed",
    "noise-0.3": "nothing: a control of how small an error is seen",
    "noise-1": "nothing: a control",
    "noise-3": "nothing: a control",
    "fine-tuned": "serves a model of its own under this one's name",
    "other-model": "as cheap as the other model is",
    "layer-dropped": "one layer's work (3 % of 30, 3.6 % of 28)",
    "suffix": "the cheaper weights of a third of the layers",
    "system-prompt": "nothing in cost: steers the answers",
    "template": "nothing in cost: steers the answers",
    "temperature-up": "nothing in cost; shows a sampler that is not the request's",
    "temperature-down": "shorter, more predictable texts",
    "wrong-seed": "free choice among samples, such as the shortest",
    "top-p-ignored": "the cost of sorting the vocabulary",
    "prefill-attack": "pays the cheap model and one prefill of the true one",
    "late-computation": "pays the true model only when challenged",
    "replayed-opening": "as cheap as its serving model",
    "replayed-sketches": "as cheap as its serving model",
    "refuse-unknown": "as cheap as its serving model, pays with failed challenges",
    "probes-only": "pays the true model only for what it takes for probes",
    "random-sketches": "as cheap as its serving model",
    "truncated": "the tokens that it leaves out",
    "padded": "is paid for tokens that the model did not write",
    "other-text": "nothing in cost: shows the client other words",
}

CHEATS = tuple(_ECONOMY)
"""Every dishonest role but `slow-drip`, which answers no request within any deadline: there is nothing to
audit, and the gateway's own bounds stand against it (tests/gateway/test_misbehaving_miners.py)."""

HONEST_CONDITIONS = ("eager", "chunked", "compiled", "float32", "split")


def cheat_row(name: str) -> Row:
    """The row of a cheat.

    Raises:
        LocalnetError: there is no such role.
    """
    return Row(name, role_named(name), "eager", _ECONOMY.get(name, ""))


def honest_row(condition: str) -> Row:
    """The row of honest miners under one kind of engine."""
    return Row(f"{HONEST}-{condition}", role_named(HONEST), condition, "")
