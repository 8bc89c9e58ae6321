from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM

from localnet.cheating_miner.cheap_writer import CheapWriter, Sampling, pick_token
from shared.sampling_noise import gumbel_noise

GREEDY = Sampling(0.0, 1.0, 0, seed=1, max_tokens=12)
PROMPT = list(range(1000, 1020))


def model(folder: Path) -> AutoModelForCausalLM:
    return AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()


@torch.inference_mode()
def greedy_by_whole_passes(true: AutoModelForCausalLM, count: int) -> list[int]:
    ids = list(PROMPT)
    for _ in range(count):
        ids.append(int(true(input_ids=torch.tensor([ids])).logits[0, -1].argmax()))
    return ids[len(PROMPT) :]


def test_writing_with_a_cache_is_writing_with_whole_passes(tiny_model_folder: Path) -> None:
    true = model(tiny_model_folder)
    assert list(CheapWriter(true, frozenset()).write(PROMPT, GREEDY)) == greedy_by_whole_passes(true, 12)


def test_the_cheap_model_is_another_one_in_its_layers_and_the_same_elsewhere(tiny_model_folder: Path) -> None:
    true, cheap = model(tiny_model_folder), CheapWriter.load(tiny_model_folder)._model
    changed = {
        name
        for (name, ours), (_, theirs) in zip(cheap.named_parameters(), true.named_parameters(), strict=True)
        if not torch.equal(ours, theirs)
    }
    assert "model.layers.0.mlp.gate_proj.weight" in changed
    assert not any("embed" in name or "norm" in name or "lm_head" in name for name in changed)


def test_a_text_ends_with_the_token_that_ends_it(tiny_model_folder: Path) -> None:
    true = model(tiny_model_folder)
    third = greedy_by_whole_passes(true, 3)[2]
    writer = CheapWriter(true, frozenset({third}))
    written = list(writer.write(PROMPT, GREEDY))
    assert written[-1] == third
    assert len(written) <= 3
    assert writer.ends(third)


LOGITS = torch.tensor([1.0, 3.0, 2.0, 0.0])


def sampled(temperature: float = 1.0, top_p: float = 1.0, top_k: int = 0, seed: int = 3) -> list[int]:
    sampling = Sampling(temperature, top_p, top_k, seed, max_tokens=1)
    return [pick_token(LOGITS, sampling, position) for position in range(400)]


def test_greedy_takes_the_likeliest() -> None:
    assert set(sampled(temperature=0.0)) == {1}


def test_the_token_is_the_one_that_verifiable_sampling_draws() -> None:
    noise = gumbel_noise(torch.full((400,), 3), torch.arange(400), len(LOGITS))
    assert sampled(temperature=0.7) == (LOGITS / 0.7 + noise).argmax(1).tolist()


def test_another_seed_draws_otherwise() -> None:
    assert sampled(seed=3) != sampled(seed=4)


@pytest.mark.parametrize(
    ("top_p", "top_k", "kept"),
    [(1.0, 0, {0, 1, 2, 3}), (1.0, 2, {1, 2}), (0.6, 0, {1}), (0.8, 0, {1, 2}), (1.0, -1, {0, 1, 2, 3})],
)
def test_only_what_is_kept_is_drawn(top_p: float, top_k: int, kept: set[int]) -> None:
    assert set(sampled(top_p=top_p, top_k=top_k)) == kept
