"""What a real engine samples once the noise is installed, against a transformers reference in float32."""

import asyncio
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import AutoModelForCausalLM
from vllm import SamplingParams

from miners.hidden_states.engine_capture import EngineCapture
from shared.sampling_noise import choice_seed
from tests.miners.hidden_states.engine_requests import Answer, generate, new_id, preemptions, prompt_of
from tests.miners.hidden_states.sampling_rule import LOGIT_ERROR, Rule, explained_share
from tests.models import tiny_model

pytestmark = [
    pytest.mark.vllm,
    pytest.mark.asyncio(loop_scope="session"),
    pytest.mark.usefixtures("capture"),
]

OutputLogits = Callable[[Answer], Tensor]

RULES = [
    Rule(),
    Rule(temperature=0.05),
    Rule(temperature=1.7),
    Rule(top_k=1),
    Rule(top_k=7),
    Rule(temperature=0.1, top_p=0.6),
    Rule(temperature=0.1, min_p=0.2),
    Rule(temperature=0.2, top_k=50, top_p=0.8),
]


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    """The many small operations of a check lose time on every thread that they wait for."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def output_logits() -> OutputLogits:
    """A function that gives the reference's logits of an answer's output: [output, vocabulary]."""
    model: Any = AutoModelForCausalLM.from_pretrained(tiny_model(), dtype=torch.float32).eval()

    @torch.no_grad()
    def compute(answer: Answer) -> Tensor:
        logits: Tensor = model(torch.tensor([answer.tokens[:-1]])).logits[0]
        return logits[len(answer.prompt) - 1 :]

    return compute


def sampling(rule: Rule, tokens: int, seed: int | None, **options: Any) -> SamplingParams:
    given = {"temperature": rule.temperature, "top_k": rule.top_k, "top_p": rule.top_p, "min_p": rule.min_p}
    return SamplingParams(max_tokens=tokens, ignore_eos=True, seed=seed, **given, **options)


async def sample(
    engine: Any, prompt: list[int], rule: Rule, seed: int | None, tokens: int = 24, **options: Any
) -> list[Answer]:
    return await generate(engine, f"chatcmpl-{new_id()}", prompt, sampling(rule, tokens, seed, **options))


def share(output_logits: OutputLogits, answer: Answer, rule: Rule, seed: int, shift: int = 0) -> float:
    """The share of an answer's tokens that its seed explains, with positions shifted."""
    first = len(answer.prompt) - 1 + shift
    return explained_share(rule, output_logits(answer), seed, first, answer.output)


@pytest.mark.parametrize("rule", RULES, ids=str)
async def test_every_token_is_the_one_that_its_seed_and_position_draw(
    engine: Any, output_logits: OutputLogits, rule: Rule
) -> None:
    (answer,) = await sample(engine, prompt_of(30, 300), rule, seed=41)
    assert share(output_logits, answer, rule, seed=41) == 1.0


async def test_another_seed_position_or_temperature_does_not_explain_the_tokens(
    engine: Any, output_logits: OutputLogits
) -> None:
    rule = Rule(temperature=0.8)
    (answer,) = await sample(engine, prompt_of(30, 301), rule, seed=41, tokens=48)
    assert share(output_logits, answer, rule, seed=41) == 1.0
    assert share(output_logits, answer, rule, seed=42) < 0.1
    assert share(output_logits, answer, rule, seed=41, shift=1) < 0.1
    assert share(output_logits, answer, rule, seed=41, shift=-1) < 0.1
    assert share(output_logits, answer, Rule(temperature=0.1), seed=41) < 0.5


@pytest.mark.parametrize("seed", [0, -2, 2**31, 2**40 + 1, 2**63 - 1, -(2**63)])
async def test_seeds_of_64_bits_are_used_whole(engine: Any, output_logits: OutputLogits, seed: int) -> None:
    (answer,) = await sample(engine, prompt_of(12, 302), Rule(), seed, tokens=6)
    assert share(output_logits, answer, Rule(), seed) == 1.0


@pytest.mark.parametrize("seed", [9, 2**63 - 1])
async def test_choices_of_one_prompt_count_up_from_the_seed(
    engine: Any, output_logits: OutputLogits, seed: int
) -> None:
    answers = await sample(engine, prompt_of(20, 303), Rule(), seed, tokens=12, n=3)
    for number, answer in enumerate(answers):
        assert share(output_logits, answer, Rule(), choice_seed(seed, number)) == 1.0
        assert share(output_logits, answer, Rule(), choice_seed(seed, number + 1)) < 0.2


async def test_a_choice_whose_seed_counts_up_to_minus_one_has_none(
    engine: Any, output_logits: OutputLogits
) -> None:
    seeded, unseeded = await sample(engine, prompt_of(20, 399), Rule(), -2, tokens=12, n=2)
    assert share(output_logits, seeded, Rule(), -2) == 1.0
    assert share(output_logits, unseeded, Rule(), -1) < 0.2


async def test_every_prompt_of_a_request_starts_from_its_seed(
    engine: Any, output_logits: OutputLogits
) -> None:
    request_id = new_id()
    jobs = [
        generate(engine, f"cmpl-{request_id}-{n}", prompt_of(25, 304 + n), sampling(Rule(), 10, 5, n=2))
        for n in range(3)
    ]
    for choices in await asyncio.gather(*jobs):
        for number, answer in enumerate(choices):
            assert share(output_logits, answer, Rule(), 5 + number) == 1.0


async def test_a_prompt_prefilled_in_chunks_draws_from_its_last_position(
    engine: Any, output_logits: OutputLogits
) -> None:
    (answer,) = await sample(engine, prompt_of(300, 310), Rule(), seed=6)
    assert share(output_logits, answer, Rule(), seed=6) == 1.0


async def test_a_cached_prefix_changes_no_draw(engine: Any, output_logits: OutputLogits) -> None:
    prompt = prompt_of(128, 311)
    (computed,) = await sample(engine, prompt, Rule(), seed=7)
    (cached,) = await sample(engine, prompt, Rule(), seed=7)
    assert computed.output == cached.output
    assert share(output_logits, cached, Rule(), seed=7) == 1.0


async def test_preempted_requests_go_on_with_the_draws_of_their_positions(
    engine: Any, output_logits: OutputLogits
) -> None:
    before = preemptions()
    jobs = [sample(engine, prompt_of(60, 320 + i), Rule(), seed=i, tokens=300) for i in range(6)]
    finished = await asyncio.gather(*jobs)
    assert preemptions() > before
    for seed, (answer,) in enumerate(finished):
        assert len(answer.output) == 300
        logits, last = output_logits(answer)[-150:], answer.output[-150:]
        assert explained_share(Rule(), logits, seed, 60 - 1 + 150, last) == 1.0


async def test_requests_in_one_batch_keep_their_own_rules_and_seeds(
    engine: Any, output_logits: OutputLogits
) -> None:
    """Greedy and unseeded requests sit between the seeded ones, and requests come and go."""
    jobs = []
    for number, rule in enumerate(RULES):
        jobs.append(
            sample(engine, prompt_of(10 + number, 330 + number), rule, number, tokens=12 + 3 * number)
        )
        other = Rule(temperature=0.0) if number % 2 else Rule()
        jobs.append(sample(engine, prompt_of(9, 350 + number), other, None, tokens=7))
    answers = await asyncio.gather(*jobs)
    for number, rule in enumerate(RULES):
        (answer,) = answers[2 * number]
        assert share(output_logits, answer, rule, seed=number) == 1.0


@pytest.mark.parametrize("seed", [None, 3])
async def test_greedy_requests_take_the_likeliest_token(
    engine: Any, output_logits: OutputLogits, seed: int | None
) -> None:
    """Alone, and beside a seeded request."""
    prompt, greedy = prompt_of(24, 370), Rule(temperature=0.0)
    (alone,) = await sample(engine, prompt, greedy, seed)
    together = sample(engine, prompt, greedy, seed), sample(engine, prompt_of(20, 371), Rule(), 8)
    (beside,), _ = await asyncio.gather(*together)
    for answer in (alone, beside):
        logits = output_logits(answer)
        chosen = logits[torch.arange(len(answer.output)), answer.output]
        assert bool((logits.max(dim=1).values - chosen <= 2 * LOGIT_ERROR).all())


async def test_unseeded_requests_stay_random_alone_and_beside_seeded_ones(engine: Any) -> None:
    prompt = prompt_of(20, 380)
    (first,) = await sample(engine, prompt, Rule(), None)
    (second,) = await sample(engine, prompt, Rule(), None)
    beside = [sample(engine, prompt, Rule(), None) for _ in range(3)]
    mixed = await asyncio.gather(*beside, sample(engine, prompt, Rule(), seed=1))
    outputs = [tuple(answer.output) for answer in (first, second, *(choices[0] for choices in mixed))]
    assert len(set(outputs)) == len(outputs)


async def test_an_aborted_request_leaves_the_others_draws_alone(
    engine: Any, output_logits: OutputLogits
) -> None:
    kept = asyncio.create_task(sample(engine, prompt_of(30, 390), Rule(), seed=12, tokens=60))
    stream = engine.generate(
        {"prompt_token_ids": prompt_of(30, 391)}, sampling(Rule(), 200, 13), f"chatcmpl-{new_id()}"
    )
    async for part in stream:
        if part.outputs[0].token_ids:
            break
    await stream.aclose()
    (answer,) = await kept
    assert share(output_logits, answer, Rule(), seed=12) == 1.0


async def test_installing_again_changes_nothing(
    engine: Any, capture: EngineCapture, calibration_file: Any, output_logits: OutputLogits
) -> None:
    await capture.install(calibration_file)
    (answer,) = await sample(engine, prompt_of(30, 395), Rule(), seed=14)
    assert share(output_logits, answer, Rule(), seed=14) == 1.0
