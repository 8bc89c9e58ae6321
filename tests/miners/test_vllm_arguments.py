import itertools

import pytest

from miners.config import MinerConfig
from miners.vllm_arguments import FRONT, REFUSED, public_name, vllm_arguments
from shared.errors import ConfigError

CONFIG = MinerConfig(model="org/Model-7B", port=8091)


def value_of(arguments: list[str], flag: str) -> str:
    return arguments[arguments.index(flag) + 1]


def test_the_public_name_is_the_models_unless_another_is_set(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    folder = tmp_path_factory.mktemp("models") / "Tiny-1B"
    folder.mkdir()
    assert public_name(CONFIG) == "org/Model-7B"
    assert public_name(MinerConfig(model=str(folder))) == "Tiny-1B"
    assert public_name(MinerConfig(model=str(folder), served_model_name="other")) == "other"


def test_the_front_is_the_last_middleware_and_so_the_outermost() -> None:
    arguments = vllm_arguments(CONFIG, ["--middleware", "operators.Own"])
    middleware = [b for a, b in itertools.pairwise(arguments) if a == "--middleware"]
    assert middleware == ["operators.Own", FRONT]


def test_settings_become_vllms_flags_and_unset_ones_stay_vllms() -> None:
    arguments = vllm_arguments(MinerConfig(model="m", max_model_len=2048, tensor_parallel_size=2), [])
    assert value_of(arguments, "--max-model-len") == "2048"
    assert value_of(arguments, "--tensor-parallel-size") == "2"
    assert "--gpu-memory-utilization" not in arguments


def test_passed_flags_come_after_ours_so_that_they_win() -> None:
    arguments = vllm_arguments(CONFIG, ["--dtype", "float16"])
    assert arguments.index("float16") > arguments.index("auto")


@pytest.mark.parametrize("flag", sorted(REFUSED))
def test_flags_that_break_receipts_are_refused_with_the_reason(flag: str) -> None:
    for written in (flag, f"{flag}=x", flag.replace("-", "_").replace("__", "--", 1)):
        with pytest.raises(ConfigError, match="can't be used by a miner"):
            vllm_arguments(CONFIG, [written])


def test_values_that_look_like_refused_flags_elsewhere_are_harmless() -> None:
    assert "uds" in vllm_arguments(CONFIG, ["--chat-template", "uds"])
