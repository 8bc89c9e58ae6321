"""What stands in for vLLM draws honest tokens and counts every product with weights."""

import random

import torch
from torch import Tensor, nn

from bench.serving_floor import TEMPERATURE, TOP_P, ServingFloor, random_prompt
from shared.sampling_noise import gumbel_noise
from tests.shared.small_models import LAYERS, VOCABULARY, small_model

PROMPT, OUTPUT = 6, 12


def drawn_alone(prompt_ids: list[int], seed: int) -> list[int]:
    """One request, each token from a whole pass: the definition of the sampler."""
    model, token_ids = small_model("llama"), list(prompt_ids)
    for _ in range(OUTPUT):
        with torch.inference_mode():
            scores: Tensor = model(torch.tensor([token_ids])).logits[0, -1] / TEMPERATURE
        probabilities = scores.softmax(dim=0)
        smaller = [float(probabilities[probabilities <= one].sum()) for one in probabilities]
        kept = torch.tensor([total > 1 - TOP_P for total in smaller])
        noise = gumbel_noise(torch.tensor([seed]), torch.tensor([len(token_ids) - 1]), VOCABULARY)[0]
        token_ids.append(int((scores + noise).masked_fill(~kept, -torch.inf).argmax()))
    return token_ids[PROMPT:]


async def test_requests_served_together_get_the_tokens_that_the_sampler_draws_for_each() -> None:
    served, _ = await ServingFloor(small_model("llama"), "cpu").serve(3, PROMPT, OUTPUT)
    assert [one.output_ids for one in served] == [drawn_alone(one.prompt_ids, one.seed) for one in served]
    assert len({tuple(one.prompt_ids) for one in served}) == 3
    assert len({one.seed for one in served}) == 3


async def test_no_prompt_is_served_twice() -> None:
    floor = ServingFloor(small_model("llama"), "cpu")
    answers = [await floor.serve(2, PROMPT, 1) for _ in range(3)]
    assert len({tuple(one.prompt_ids) for served, _ in answers for one in served}) == 6


async def test_every_step_multiplies_with_every_weight_matrix_once() -> None:
    model = small_model("llama")
    floor, products = ServingFloor(model, "cpu"), list[tuple[int, ...]]()
    await floor.serve(1, PROMPT, 1)
    for layer in model.modules():
        if isinstance(layer, nn.Linear):
            layer.register_forward_hook(lambda layer, args, output: products.append(tuple(args[0].shape)))
    await floor._floor(4, OUTPUT)
    warmed_up_and_counted = 2 * OUTPUT
    assert len(products) == warmed_up_and_counted * (7 * LAYERS + 1)
    assert {shape[0] for shape in products} == {4}


def test_a_prompt_keeps_away_from_special_tokens() -> None:
    tokens = random_prompt(random.Random(0), 1000, 5000)
    assert (min(tokens), max(tokens)) == (100, 899)
    assert (min(random_prompt(random.Random(0), 8, 500)), max(random_prompt(random.Random(0), 8, 500))) == (
        2,
        5,
    )
