"""Seeded requests whose prompt spans several steps, on a CPU.

After each partial prefill vLLM 0.32 samples a token, discards it and winds the request's generator back by
its offset. A CPU generator has no offset, so the engine dies of any seeded prompt that does not fit one
step. Here such a request's generator is out of reach while the discarded token is drawn: nothing is
drawn from it, so nothing needs winding back, and its later tokens don't depend on how the prompt was cut.
"""

from collections.abc import Callable
from typing import Any

import numpy as np


def spare_generators_of_partial_prefills(runner: Any) -> None:
    """Wrap the sampling step of a first-generation model runner on a CPU; others are left alone."""
    if runner.device.type != "cpu" or not hasattr(runner, "discard_request_mask"):
        return
    sample: Callable[..., Any] = runner.sample_tokens

    def sample_tokens(*args: Any, **options: Any) -> Any:
        generators: dict[int, Any] = runner.input_batch.generators
        discarded = np.nonzero(runner.discard_request_mask.np[: runner.input_batch.num_reqs])[0]
        spared = {int(i): generators.pop(int(i)) for i in discarded if int(i) in generators}
        try:
            return sample(*args, **options)
        finally:
            generators.update(spared)

    runner.sample_tokens = sample_tokens
