"""The `vllm.general_plugins` entry point: taps every model that vLLM builds in this process."""

import hashlib
import os
from typing import Any

SWITCH = "CONSTANTINOPLE_CAPTURE"
"""Set to "off" to serve without capture, for comparison in benchmarks."""

GRAPH_VERSION = "constantinople-capture/1"
"""Part of the key of vLLM's compile cache: a graph that was compiled without the tap captures nothing."""

_registered: list[str] = []
"""Not empty once registered: vLLM may load plugins repeatedly."""


def register() -> None:
    """Install the tap; called by vLLM in every process, before any model is built."""
    if _registered or os.environ.get(SWITCH) == "off":
        return
    from vllm.config import VllmConfig
    from vllm.model_executor.models.interfaces import EagleModelMixin
    from vllm.v1.engine.parallel_sampling import ParentRequest

    from miners.hidden_states.capture import define_operator, wrap_hook

    _registered.append(SWITCH)
    define_operator()
    wrap_hook(EagleModelMixin)
    _tap_built_models(EagleModelMixin)
    _key_compiled_graphs(VllmConfig)
    _tell_children_their_number(ParentRequest)


def _tap_built_models(mixin: type[Any]) -> None:
    from vllm.model_executor.model_loader import base_loader

    from miners.hidden_states.capture import attach_tap

    build = base_loader.initialize_model

    def build_and_tap(vllm_config: Any, *args: Any, **options: Any) -> Any:
        model = build(vllm_config, *args, **options)
        attach_tap(model, mixin, vllm_config)
        return model

    base_loader.initialize_model = build_and_tap


def _key_compiled_graphs(config: type[Any]) -> None:
    compute = config.compute_hash

    def compute_hash(self: Any) -> str:
        return hashlib.sha256(f"{compute(self)}|{GRAPH_VERSION}".encode()).hexdigest()[:10]

    config.compute_hash = compute_hash


def _tell_children_their_number(parent: type[Any]) -> None:
    """A child's index in a response of several prompts depends on `n`, which vLLM doesn't tell it.

    vLLM counts children's seeds up from the request's, beyond 64 bits too, which no engine takes.
    """
    from miners.hidden_states.request_names import CHOICES_PER_PROMPT
    from shared.sampling_noise import choice_seed

    get_child_info = parent.get_child_info

    def numbered_child(self: Any, index: int) -> tuple[str, Any]:
        internal_id, params = get_child_info(self, index)
        params.extra_args = {**(params.extra_args or {}), CHOICES_PER_PROMPT: int(self.n)}
        if params.seed is not None:
            params.seed = choice_seed(params.seed, 0)
        return internal_id, params

    parent.get_child_info = numbered_child
