"""Audits of what was written: the tokens against the sampler, their end, and the text that was sent."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from localnet.cheats import write_int4_model
from shared.canonical import sha256_hex
from shared.inference_paths import CHAT_PATH, COMPLETIONS_PATH
from shared.reference_model import ReferenceModel
from tests.validator.example_audit import answering, assert_fails, assert_passes, statistic, verdict_on
from tests.validator.example_calibration import tiny_calibration
from tests.validator.example_generation import Generated, Writing
from tests.validator.example_miner import ExampleMiner
from tests.validator.example_model import chat_body
from validator.evidence import FAIL_P_VALUE, PROVEN_LOG_E
from validator.sampling_rules import SamplingRule
from validator.verdicts import Statistic, Verdict

COLD: Mapping[str, Any] = {"temperature": 0.3, "max_tokens": 48}
"""The tiny model's logits differ by a third of one: only at low temperatures do its tokens depend on them."""


def miner(writing: Writing | None = None) -> ExampleMiner:
    return ExampleMiner(tiny_calibration(), writing=writing or Writing())


async def audited(writing: Writing | None = None, path: str = CHAT_PATH, **fields: Any) -> Verdict:
    """The verdict on one answer to a request with these fields."""
    serving = miner(writing)
    body = (
        {"request_id": "request-plain", "seed": 5, **fields} if path != CHAT_PATH else chat_body(2, **fields)
    )
    return await verdict_on(serving.answer(body, path=path), answering(serving))


def drawn_token(place: int, **fields: Any) -> int:
    """The token that an honest miner draws at this place of its answer."""
    return miner().answer(chat_body(2, **fields)).choices[0].output_token_ids[place]


HONEST: dict[str, dict[str, Any]] = {
    "greedy": {"temperature": 0},
    "at the default temperature": {},
    "at a low temperature": dict(COLD),
    "with a temperature that is raised": {"temperature": 0.001, "max_tokens": 8},
    "with top-p": {"temperature": 0.3, "top_p": 0.8, "max_tokens": 16},
    "with top-k and min-p": {"temperature": 0.5, "top_k": 40, "min_p": 0.05},
    "with repetition penalty": {"temperature": 0, "repetition_penalty": 1.3},
    "with counted penalties": {"temperature": 0.2, "frequency_penalty": 0.7, "presence_penalty": -0.3},
    "with a bias": {"temperature": 0.3, "logit_bias": {"400": 1.5, "500": -100}},
    "of allowed tokens": {"temperature": 0.3, "allowed_token_ids": list(range(300, 340))},
    "of two choices": {"n": 2, "temperature": 0.3, "max_tokens": 16},
    "of one token": {"max_tokens": 1},
    "with a negative seed": {"seed": -(1 << 62), "max_tokens": 8},
    "with a stop string": {"stop": ["e"]},
    "with a stop string that is shown": {"stop": ["e", "a"], "include_stop_str_in_output": True},
    "that shows special tokens": {"skip_special_tokens": False, "max_tokens": 8},
}


@pytest.mark.parametrize("kind", HONEST)
async def test_an_honest_answer_passes(kind: str) -> None:
    verdict = await audited(**HONEST[kind])
    assert_passes(verdict)
    assert verdict.tokens is not None
    assert (verdict.tokens.checked > 0, verdict.tokens.unchecked) == (True, "")
    assert verdict.tokens.exact >= 0.8 * verdict.tokens.checked


async def test_an_honest_answer_that_a_stop_token_ends_passes() -> None:
    token = drawn_token(6, **COLD)
    verdict = await audited(**COLD, stop_token_ids=[token])
    assert_passes(verdict)
    assert verdict.tokens is not None
    assert verdict.tokens.checked == 7


@pytest.mark.parametrize(
    "fields",
    [
        {"prompt": "Once upon a time there was a miner", "max_tokens": 12},
        {"prompt": ["One text", "and another"], "n": 2, "temperature": 0.3, "max_tokens": 6},
        {"prompt": [5, 600, 7000, 400, 30], "temperature": 0, "max_tokens": 1},
    ],
)
async def test_honest_completions_pass(fields: dict[str, Any]) -> None:
    verdict = await audited(path=COMPLETIONS_PATH, **fields)
    assert_passes(verdict)
    assert verdict.tokens is not None
    assert verdict.tokens.checked > 0


@pytest.mark.parametrize(
    ("fields", "words"),
    [({"seed": None}, "no seed"), ({"response_format": {"type": "json_object"}}, "response format")],
)
async def test_tokens_that_can_not_be_drawn_again_are_left_out_and_the_rest_is_checked(
    fields: dict[str, Any], words: str
) -> None:
    class WithoutRule(ExampleMiner):
        """Samples as it likes: nobody can draw these tokens again."""

        def asked(self, path: str, text: str) -> SamplingRule:
            return SamplingRule(seed=99, max_tokens=12)

    serving = WithoutRule(tiny_calibration())
    record = serving.answer(chat_body(2, **fields))
    verdict = await verdict_on(record, answering(serving))
    assert_passes(verdict)
    assert verdict.tokens is not None
    assert verdict.tokens.checked == 0
    assert words in verdict.tokens.unchecked
    assert words in verdict.reason
    assert [one.statistic for one in verdict.evidence] == ["typical", "mean", "replay"]


@pytest.fixture(scope="module")
def int4_engine(tmp_path_factory: pytest.TempPathFactory, tiny_model_folder: Path) -> ReferenceModel:
    folder = write_int4_model(tiny_model_folder, tmp_path_factory.mktemp("models") / "int4")
    return ReferenceModel.load(str(folder), dtype=torch.bfloat16)


@pytest.mark.parametrize("temperature", [0, 0.1])
async def test_text_of_a_cheap_model_that_the_true_one_prefills_fails(
    int4_engine: ReferenceModel, temperature: float
) -> None:
    """The prefill attack: hidden states and replays are true, only the tokens are another model's."""
    verdict = await audited(Writing(writer=int4_engine), temperature=temperature, max_tokens=96)
    assert_fails(verdict, "tokens")
    true_states: tuple[Statistic, ...] = ("typical", "mean", "replay")
    assert all(statistic(verdict, name).p_value >= FAIL_P_VALUE for name in true_states)
    assert statistic(verdict, "tokens").p_value < FAIL_P_VALUE


def with_seed(rule: SamplingRule) -> SamplingRule:
    assert rule.seed is not None
    return replace(rule, seed=rule.seed + 1)


OTHER_RULES: dict[str, tuple[dict[str, Any], Any]] = {
    "another seed": ({}, with_seed),
    "another seed, at the default temperature": ({"temperature": 1.0}, with_seed),
    "one seed for both choices": ({"n": 2}, lambda rule: replace(rule, n=1)),
    "a temperature higher by a tenth": ({}, lambda rule: replace(rule, temperature=0.4)),
    "a temperature lower by a tenth": ({}, lambda rule: replace(rule, temperature=0.2)),
    "no temperature": ({}, lambda rule: replace(rule, temperature=0.0)),
    "no top-p": ({"top_p": 0.5}, lambda rule: replace(rule, top_p=1.0)),
    "no top-k": ({"top_k": 20}, lambda rule: replace(rule, top_k=0)),
    "no repetition penalty": (
        {"repetition_penalty": 1.3, "temperature": 0},
        lambda rule: replace(rule, repetition_penalty=1.0),
    ),
    "no bias": ({"logit_bias": {"400": 100}}, lambda rule: replace(rule, logit_bias=())),
}


@pytest.mark.parametrize("kind", OTHER_RULES)
async def test_tokens_fail_that_were_drawn_with(kind: str) -> None:
    fields, change = OTHER_RULES[kind]
    verdict = await audited(Writing(rule=change), **{**COLD, **fields})
    assert_fails(verdict, "tokens")
    assert verdict.tokens is not None
    assert verdict.tokens.exact < verdict.tokens.checked


async def test_exchanged_tokens_among_honest_ones_fail() -> None:
    """Words put into an answer: what follows them is sampled as it should be, given them."""

    def exchanged(generated: Generated) -> Generated:
        ids = [one + (place % 10 == 9) for place, one in enumerate(generated.token_ids)]
        return replace(generated, token_ids=tuple(ids))

    verdict = await audited(Writing(edit=exchanged), temperature=0.3)
    assert_fails(verdict, "tokens")
    assert verdict.tokens is not None
    assert verdict.tokens.exact >= verdict.tokens.checked / 2


RETOLD: dict[str, Any] = {
    "other words": lambda text: "Buy from me instead.",
    "words of the same length": lambda text: "x" * len(text.encode()),
    "half of the words": lambda text: text[: len(text) // 2],
    "words twice": lambda text: text * 2,
    "an advertisement at the end": lambda text: text + " Buy!",
    "nothing": lambda text: "",
}


@pytest.mark.parametrize("kind", RETOLD)
async def test_honest_tokens_fail_beside_a_text_of(kind: str) -> None:
    verdict = await audited(Writing(retell=RETOLD[kind]), max_tokens=8)
    assert_fails(verdict, "text")
    assert verdict.log_e == PROVEN_LOG_E
    assert verdict.points == ()


@pytest.mark.parametrize("claimed", ["stop", "length", "because"])
async def test_an_answer_that_was_cut_short_fails(claimed: str) -> None:
    def cut(generated: Generated) -> Generated:
        return Generated(generated.token_ids[:5], claimed)

    verdict = await audited(Writing(edit=cut), max_tokens=16)
    assert_fails(verdict, "tokens")
    assert verdict.log_e == PROVEN_LOG_E


async def test_an_answer_that_goes_on_after_its_stop_token_fails() -> None:
    token = drawn_token(6, **COLD)
    writing = Writing(rule=lambda rule: replace(rule, end_token_ids=frozenset()))
    verdict = await audited(writing, **COLD, stop_token_ids=[token])
    assert_fails(verdict, "tokens")
    assert "goes on" in verdict.reason


@pytest.mark.parametrize("hidden", [False, True])
async def test_an_answer_that_goes_on_after_its_stop_string_fails(hidden: bool) -> None:
    """Whether the client is sent what comes after it or not."""
    [honest] = miner().answer(chat_body(2, stop=["e"])).choices
    serving = miner(Writing(rule=lambda rule: replace(rule, stop=())))
    record = serving.answer(chat_body(2, stop=["e"]))
    told = {"text_sha256": honest.text_sha256, "text_bytes": honest.text_bytes} if hidden else {}
    choices = (record.choices[0].model_copy(update=told),)
    verdict = await verdict_on(record.model_copy(update={"choices": choices}), answering(serving))
    assert_fails(verdict, "tokens" if hidden else "text")
    assert hidden == ("goes on" in verdict.reason)


async def test_more_tokens_than_were_asked_for_fail() -> None:
    writing = Writing(rule=lambda rule: replace(rule, max_tokens=20))
    verdict = await audited(writing, max_tokens=16)
    assert_fails(verdict, "tokens")
    assert "16 were asked for" in verdict.reason


async def test_text_without_a_digest_in_an_older_log_is_not_the_miners_fault() -> None:
    serving = miner()
    record = serving.answer(chat_body(2))
    choice = record.choices[0].model_copy(update={"text_sha256": None, "text_bytes": 0})
    verdict = await verdict_on(record.model_copy(update={"choices": (choice,)}), answering(serving))
    assert_passes(verdict)
    assert "text not checked: choice 0" in verdict.reason


def test_the_example_miner_is_one_whose_receipts_name_the_sampler() -> None:
    record = miner().answer(chat_body(2))
    assert record.receipt is not None
    assert record.receipt["sampler"] == "gumbel-murmur3/1"
    assert record.receipt["request_digest"] == sha256_hex(record.request_body.encode())
