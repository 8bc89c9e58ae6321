from pathlib import Path

import pytest

from shared.errors import ConfigError, ModelError
from shared.vllm_cpu import cpu_environment
from validator.calibration_conditions import conditions, fewest_ranks, named_conditions


def flags(name: str, on_cpu: bool) -> tuple[str, ...]:
    return next(one.flags for one in conditions(on_cpu, 2, 2) if one.name == name)


@pytest.mark.parametrize("on_cpu", [True, False])
def test_every_choice_of_an_honest_operator_is_covered(on_cpu: bool) -> None:
    names = {one.name for one in conditions(on_cpu, 2, 2)}
    assert names == {"eager", "compiled", "chunked", "float32", "split"}


def test_eager_and_compiled_differ_by_one_flag_on_a_cpu() -> None:
    assert set(flags("eager", True)) - set(flags("compiled", True)) == {"--enforce-eager"}


def test_each_engine_has_one_number_format() -> None:
    for one in conditions(True, 2, 2):
        assert one.flags.count("--dtype") == 1
    assert "float32" in flags("float32", True)


def test_two_ranks_are_left_out_where_there_is_one_device() -> None:
    assert "split" not in {one.name for one in conditions(False, 1, 2)}


def test_the_first_condition_is_what_most_miners_run() -> None:
    assert conditions(True, 2, 2)[0].name == "eager"
    assert conditions(False, 1, 2)[0].flags == ()


def test_conditions_are_named_by_a_list() -> None:
    every = conditions(True, 2, 2)
    assert named_conditions("all", every) == list(every)
    assert [one.name for one in named_conditions("float32, eager", every)] == ["float32", "eager"]


@pytest.mark.parametrize("names", ["eagre", "", "eager,tp8"])
def test_an_unknown_condition_is_refused_with_those_that_exist(names: str) -> None:
    with pytest.raises(ConfigError, match="eager, chunked"):
        named_conditions(names, conditions(True, 2, 2))


def test_a_model_whose_heads_can_not_be_split_goes_without() -> None:
    assert "split" not in {one.name for one in conditions(True, 2, 1)}


def test_ranks_divide_the_models_heads(tiny_model_folder: Path, demo_model_folder: Path) -> None:
    assert fewest_ranks(str(tiny_model_folder)) == 2
    assert fewest_ranks(str(demo_model_folder)) == 3


def test_a_folder_without_a_model_is_named(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="configuration"):
        fewest_ranks(str(tmp_path))


def test_ranks_share_few_cores_in_turn() -> None:
    assert cpu_environment([0, 1], 2)["VLLM_CPU_OMP_THREADS_BIND"] == "0|1"
    assert cpu_environment([0, 1], 3)["VLLM_CPU_OMP_THREADS_BIND"] == "0|1|0"
    assert cpu_environment([0, 1])["VLLM_CPU_OMP_THREADS_BIND"] == "0,1"
