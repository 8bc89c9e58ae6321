"""The sampler's half without an engine: who is given which noise, and what is refused."""

import sys
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor

from miners.hidden_states import sampler_noise
from miners.hidden_states.sampler_noise import (
    SeededSampling,
    check_kernel,
    check_sampling_config,
    install_noise,
)
from shared.errors import ModelError
from shared.sampling_noise import gumbel_noise

VOCABULARY = 900
CPU = torch.device("cpu")


def request(seed: int | None, greedy: bool = False) -> Any:
    """What the first runner keeps of a request; `sampling_type` as vLLM names it."""
    kind = "GREEDY" if greedy else "RANDOM" if seed is None else "RANDOM_SEED"
    return SimpleNamespace(
        sampling_params=SimpleNamespace(seed=seed, sampling_type=SimpleNamespace(name=kind))
    )


class Stock:
    """vLLM's own sampling: notes that it was called and draws token 1."""

    def __init__(self) -> None:
        self.generators: list[Any] = []

    def __call__(self, logits: Tensor, generators: Any, k: Any, p: Any) -> tuple[Tensor, None]:
        self.generators.append(dict(generators))
        return torch.ones(len(logits), dtype=torch.int64), None


def first_runner(lengths: list[int], requests: list[Any], mode: str = "raw_logprobs") -> Any:
    """A first-generation runner with its batch laid out: sequence lengths after this step."""
    names = [f"r{number}" for number in range(len(requests))]
    batch = SimpleNamespace(req_ids=names, num_reqs=len(names), generators={0: "generator"})
    return SimpleNamespace(
        _prepare_inputs=None,
        input_batch=batch,
        requests=dict(zip(names, requests, strict=True)),
        optimistic_seq_lens_cpu=torch.tensor([*lengths, 0, 0], dtype=torch.int32),
        sampler=SimpleNamespace(topk_topp_sampler=SimpleNamespace(forward=Stock(), logprobs_mode=mode)),
    )


def installed(runner: Any) -> Any:
    install_noise(runner)
    return runner.sampler.topk_topp_sampler.forward


def random_logits(rows: int) -> Tensor:
    return torch.randn(rows, VOCABULARY, generator=torch.Generator().manual_seed(5))


def drawn_by(logits: Tensor, seed: int, position: int) -> int:
    noise = gumbel_noise(torch.tensor([seed]), torch.tensor([position]), VOCABULARY)[0]
    return int((logits + noise).argmax())


def test_a_seeded_row_is_drawn_with_its_seed_at_its_last_position() -> None:
    runner = first_runner([40, 7], [request(11), request(-3)])
    logits = random_logits(2)
    tokens, processed = installed(runner)(logits.clone(), {}, None, None)
    assert tokens.tolist() == [drawn_by(logits[0], 11, 39), drawn_by(logits[1], -3, 6)]
    assert processed is None


def test_the_draw_moves_on_with_the_position() -> None:
    runner = first_runner([40], [request(11)])
    sample, logits = installed(runner), random_logits(1)
    tokens = []
    for length in range(40, 48):
        runner.optimistic_seq_lens_cpu[0] = length
        tokens.append(int(sample(logits.clone(), {}, None, None)[0]))
    assert tokens == [drawn_by(logits[0], 11, length - 1) for length in range(40, 48)]
    assert len(set(tokens)) > 4


def test_a_seed_beyond_64_signed_bits_wraps() -> None:
    """vLLM counts the seeds of n choices up from the client's, which may be the last one."""
    logits = random_logits(1)
    tokens, _ = installed(first_runner([9], [request(2**63)]))(logits.clone(), {}, None, None)
    assert int(tokens) == drawn_by(logits[0], -(2**63), 8)


def test_a_step_without_a_seeded_request_is_left_to_vllm() -> None:
    runner = first_runner([3, 4], [request(None), request(5, greedy=True)])
    stock = runner.sampler.topk_topp_sampler.forward
    tokens, _ = installed(runner)(random_logits(2), {0: "generator"}, None, None)
    assert tokens.tolist() == [1, 1]
    assert stock.generators == [{}]


def test_a_warm_up_without_requests_is_left_to_vllm() -> None:
    tokens, _ = installed(first_runner([], []))(random_logits(4), {}, None, None)
    assert tokens.tolist() == [1, 1, 1, 1]


def test_unseeded_rows_beside_a_seeded_one_are_random_and_greedy_ones_are_not_drawn() -> None:
    runner = first_runner([5, 6, 7], [request(None), request(8), request(3, greedy=True)])
    sample, flat = installed(runner), torch.zeros(3, VOCABULARY)
    steps = [sample(flat.clone(), {}, None, None)[0].tolist() for _ in range(12)]
    assert len({step[0] for step in steps}) > 6
    assert {step[1] for step in steps} == {drawn_by(flat[1], 8, 5)}
    assert {step[2] for step in steps} == {0}


def test_no_generator_is_left_for_vllm_to_wind_back() -> None:
    runner = first_runner([5], [request(8)])
    installed(runner)(random_logits(1), runner.input_batch.generators, None, None)
    assert runner.input_batch.generators == {}


@pytest.mark.vllm
def test_top_k_and_top_p_come_before_the_noise() -> None:
    runner = first_runner([5, 6], [request(8), request(9)])
    logits = random_logits(2)
    top_k, top_p = torch.tensor([1, VOCABULARY]), torch.tensor([1.0, 1e-6])
    tokens, _ = installed(runner)(logits.clone(), {}, top_k, top_p)
    assert tokens.tolist() == logits.argmax(dim=1).tolist()
    assert tokens.tolist() != [drawn_by(logits[0], 8, 4), drawn_by(logits[1], 9, 5)]


@pytest.mark.vllm
@pytest.mark.parametrize("mode", ["processed_logits", "processed_logprobs"])
def test_processed_logprobs_are_those_after_top_k(mode: str) -> None:
    runner = first_runner([5], [request(8)], mode)
    logits = random_logits(1)
    top = logits[0].topk(3)
    _, processed = installed(runner)(logits.clone(), {}, torch.tensor([3]), None)
    assert processed is not None
    expected = top.values if mode == "processed_logits" else top.values.log_softmax(dim=0)
    assert torch.allclose(processed[0, top.indices], expected)
    assert int(processed[0].isfinite().sum()) == 3


def test_installing_twice_wraps_once() -> None:
    runner = first_runner([5], [request(8)])
    sample = installed(runner)
    assert isinstance(sample, SeededSampling)
    assert installed(runner) is sample


def conforming_kernel(
    logits: Tensor, mapping: Tensor, temperature: Tensor, *rest: Any, **flags: Any
) -> Tensor:
    """A kernel with vLLM's parameters that draws the promised noise."""
    seeds, positions = rest
    assert flags == {"apply_temperature": False, "is_drafting": False}
    assert mapping.tolist() == list(range(len(logits)))
    assert bool((temperature == 1).all())
    return (logits + gumbel_noise(seeds, positions, logits.shape[1])).argmax(dim=1)


def test_a_kernel_that_draws_the_promised_noise_is_accepted() -> None:
    check_kernel(conforming_kernel, CPU)


@pytest.mark.parametrize(("seed_shift", "position_shift"), [(1, 0), (0, 1), (2**32, 0)])
def test_a_kernel_that_draws_other_noise_is_refused(seed_shift: int, position_shift: int) -> None:
    def other(
        logits: Tensor, mapping: Tensor, ones: Tensor, seeds: Tensor, places: Tensor, **flags: Any
    ) -> Tensor:
        return conforming_kernel(logits, mapping, ones, seeds + seed_shift, places + position_shift, **flags)

    with pytest.raises(ModelError, match=r"miners/requirements\.txt"):
        check_kernel(other, CPU)


def with_kernel(monkeypatch: pytest.MonkeyPatch, kernel: Any) -> None:
    module = ModuleType("vllm.v1.worker.gpu.sample.gumbel")
    module.gumbel_sample = kernel  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, module.__name__, module)


@pytest.mark.vllm
def test_the_second_runner_keeps_its_sampler_and_has_its_kernel_checked(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    sampler = object()
    runner = SimpleNamespace(device=CPU, sampler=sampler)
    with_kernel(monkeypatch, conforming_kernel)
    install_noise(runner)
    assert vars(runner) == {"device": CPU, "sampler": sampler}
    with_kernel(monkeypatch, lambda logits, *rest, **flags: logits.argmax(dim=1))
    with pytest.raises(ModelError, match="other noise"):
        install_noise(runner)


@pytest.mark.vllm
@pytest.mark.parametrize(
    ("part", "name", "value", "words"),
    [
        ("model_config", "use_fp64_gumbel", True, "fp64"),
        ("model_config", "logits_processors", ["some.module:Processor"], "logits-processors"),
        ("model_config", "enable_trace_replay", True, "trace-replay"),
        ("model_config", "generation_config", "vllm", "generation-config; leave it at auto"),
        ("model_config", "override_generation_config", {"temperature": 0.5}, "override-generation-config"),
        (None, "watermark_config", object(), "watermarking"),
    ],
)
def test_engines_whose_tokens_cannot_be_rebuilt_are_refused_in_words(
    engine_config: Any, monkeypatch: pytest.MonkeyPatch, part: str | None, name: str, value: Any, words: str
) -> None:
    monkeypatch.setattr(getattr(engine_config, part) if part else engine_config, name, value)
    with pytest.raises(ModelError, match=words):
        check_sampling_config(engine_config)


@pytest.mark.vllm
def test_an_ordinary_engine_is_not_refused(engine_config: Any) -> None:
    check_sampling_config(engine_config)


@pytest.mark.vllm
def test_an_installed_logits_processor_is_refused_by_name(
    engine_config: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    plugin = SimpleNamespace(value="somebody.processors:Boost")
    monkeypatch.setattr(sampler_noise, "entry_points", lambda group: [plugin])
    with pytest.raises(ModelError, match=r"somebody\.processors:Boost; uninstall"):
        check_sampling_config(engine_config)
