"""What the plugin changes in vLLM, and that it changes nothing when it is switched off."""

import os
import subprocess
import sys

import pytest

pytestmark = pytest.mark.vllm

REPORT = """
from vllm.config import VllmConfig
from vllm.model_executor.models.interfaces import EagleModelMixin
from vllm.sampling_params import SamplingParams
from vllm.v1.engine import EngineCoreRequest
from vllm.v1.engine.parallel_sampling import ParentRequest
from miners.hidden_states.plugin import register

register()
register()
fields = dict.fromkeys(EngineCoreRequest.__struct_fields__)
params = SamplingParams(n=3, seed=2**63 - 1, extra_args={"constantinople_n": 99})
fields |= {"request_id": "cmpl-a", "external_req_id": "cmpl-a", "sampling_params": params}
child = ParentRequest(EngineCoreRequest(**fields)).get_child_info(2)
wraps = getattr(EagleModelMixin._maybe_add_hidden_state, "__wrapped__", None)
print(wraps is not None, getattr(wraps, "__wrapped__", None) is None)
print(child[0], child[1].extra_args["constantinople_n"], params.extra_args["constantinople_n"], child[1].seed)
print(len(VllmConfig().compute_hash()), VllmConfig().compute_hash())
"""


def report(switch: str) -> list[list[str]]:
    environment = os.environ | {"CONSTANTINOPLE_CAPTURE": switch, "VLLM_PLUGINS": ""}
    run = subprocess.run(
        [sys.executable, "-c", REPORT], env=environment, capture_output=True, text=True, check=True
    )
    return [line.split() for line in run.stdout.splitlines()[-3:]]


def test_the_plugin_hooks_once_numbers_children_and_keys_compiled_graphs() -> None:
    hook, child, key = report("on")
    assert hook == ["True", "True"]
    assert child == ["2_cmpl-a", "3", "99", str(-(2**63) + 1)]
    stock_hook, stock_child, stock_key = report("off")
    assert stock_hook[0] == "False"
    assert stock_child == ["2_cmpl-a", "99", "99", str(2**63 + 1)]
    assert key[1] != stock_key[1]
    assert key[0] == stock_key[0]
