"""Cheats that sample otherwise than they were asked to."""

import json
from pathlib import Path

from localnet.cheating_miner.exchange import BodyCheat, Exchange, Payload, Server
from shared.sampling_noise import choice_seed

TEMPERATURE_STEP = 0.1

SEED_OFFSET = 1_000_003
"""Far from the seeds of a request's own choices, which count up from the request's."""


def default_sampling(model_folder: Path) -> Payload:
    """What vLLM samples with when a request does not say: the model's generation_config.json."""
    file = model_folder / "generation_config.json"
    values: Payload = json.loads(file.read_text(encoding="utf-8")) if file.exists() else {}
    names = {"temperature": 1.0, "top_p": 1.0, "top_k": 0}
    return {name: values.get(name, default) for name, default in names.items()}


class OtherTemperature(BodyCheat):
    """Adds `step` to the temperature; what is greedy stays greedy when the step is down."""

    def __init__(self, step: float, default: float) -> None:
        self._step, self._default = step, default

    async def exchange(self, server: Server, path: str, fields: Payload) -> Exchange:
        """The request at another temperature."""
        asked = fields.get("temperature")
        temperature = self._default if asked is None else float(asked)
        return Exchange({**fields, "temperature": max(0.0, temperature + self._step)})


class WrongSeed(BodyCheat):
    """Uses another seed; the receipt still names the one that was asked for."""

    async def exchange(self, server: Server, path: str, fields: Payload) -> Exchange:
        """The request with another seed."""
        seed = fields.get("seed")
        if seed is None:
            return Exchange(fields)
        return Exchange({**fields, "seed": choice_seed(seed, SEED_OFFSET)})


class TopPIgnored(BodyCheat):
    """Leaves out what engines spend time on: the cut to the most likely tokens."""

    async def exchange(self, server: Server, path: str, fields: Payload) -> Exchange:
        """The request with every token allowed."""
        return Exchange({**fields, "top_p": 1.0})
