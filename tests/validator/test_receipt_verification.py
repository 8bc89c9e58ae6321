from collections.abc import Callable
from typing import Any

import pytest
from bittensor.sp_core import Keypair

from shared.canonical import token_ids_digest
from shared.receipts import Receipt
from shared.records import RequestRecord
from tests.models import TINY_MODEL
from tests.shared.keys import MINER, OTHER_MINER
from tests.validator.example_calibration import bare_calibration
from tests.validator.example_miner import ExampleMiner, receipt_of
from tests.validator.example_model import chat_body, renderer
from validator.findings import Finding
from validator.receipt_verification import (
    check_lengths,
    check_prompts,
    check_statement,
    check_vocabulary,
    read_receipt,
)


def miner(signer: Keypair = MINER) -> ExampleMiner:
    return ExampleMiner(bare_calibration(), signer=signer)


def examine(record: RequestRecord) -> Finding | None:
    """Every check of a receipt, as an audit makes them."""
    receipt = read_receipt(record)
    if isinstance(receipt, Finding):
        return receipt
    prompts = renderer().prompts(record.path, record.request_body)
    return (
        check_statement(receipt, record, TINY_MODEL, bare_calibration())
        or check_lengths(receipt, record)
        or check_prompts(receipt, record, prompts)
        or check_vocabulary(record, 49_152)
    )


def assert_fails(record: RequestRecord, check: str, *words: str) -> None:
    finding = examine(record)
    assert finding is not None
    assert (finding.outcome, finding.check) == ("fail", check)
    for word in words:
        assert word in finding.reason


@pytest.mark.parametrize(
    "fields", [{}, {"n": 3}, {"stream": False}, {"chat_template_kwargs": {"enable_thinking": False}}]
)
def test_an_honest_receipt_holds(fields: dict[str, Any]) -> None:
    assert examine(miner().answer(chat_body(1, **fields))) is None


def test_an_honest_receipt_with_a_cached_prefix_holds() -> None:
    assert examine(miner().answer(chat_body(1), cached_tokens=16)) is None


def test_an_honest_receipt_of_several_prompts_holds() -> None:
    body = {"request_id": "request-many", "prompt": ["One text", "and another"], "n": 2, "seed": 5}
    assert examine(miner().answer(body, path="/v1/completions")) is None


def test_a_missing_receipt_fails() -> None:
    record = miner().answer(chat_body(1)).model_copy(update={"receipt": None})
    assert_fails(record, "receipt", "no receipt")


@pytest.mark.parametrize(
    "damage",
    [
        lambda receipt: {},
        lambda receipt: {**receipt, "extra": 1},
        lambda receipt: {**receipt, "leaves": float("nan")},
        lambda receipt: {**receipt, "leaves": "12"},
        lambda receipt: {name: value for name, value in receipt.items() if name != "merkle_root"},
    ],
)
def test_a_malformed_receipt_fails(damage: Callable[[dict[str, Any]], dict[str, Any]]) -> None:
    record = miner().answer(chat_body(1))
    assert record.receipt is not None
    assert_fails(record.model_copy(update={"receipt": damage(record.receipt)}), "receipt", "not a receipt")


def test_a_changed_receipt_fails() -> None:
    record = miner().answer(chat_body(1))
    changed = {**(record.receipt or {}), "leaves": 8}
    assert_fails(record.model_copy(update={"receipt": changed}), "receipt", "not by")


def test_a_receipt_by_another_hotkey_fails() -> None:
    """A relay: the miner that was asked hands on the answer and receipt of another."""
    relayed = miner(OTHER_MINER).answer(chat_body(1))
    record = relayed.model_copy(update={"miner_hotkey": MINER.ss58_address})
    assert_fails(record, "receipt", OTHER_MINER.ss58_address, MINER.ss58_address)


def test_the_receipt_of_another_request_fails() -> None:
    """A replay of an old receipt."""
    earlier, record = miner().answer(chat_body(1)), miner().answer(chat_body(2))
    assert_fails(record.model_copy(update={"receipt": earlier.receipt}), "receipt", "request id")


@pytest.mark.parametrize(
    ("fields", "word"),
    [
        ({"model": "another-model"}, "model"),
        ({"request_digest": "0" * 64}, "digest of the request"),
        ({"calibration_digest": "0" * 64}, "calibration digest"),
        ({"num_layers": 3}, "number of layers"),
        ({"leaves": 1}, "commits to 1 points"),
        ({"choices": ()}, "choices"),
    ],
)
def test_a_receipt_that_states_something_else_fails(fields: dict[str, Any], word: str) -> None:
    assert_fails(miner().answer(chat_body(1), **fields), "receipt", word)


def with_choice(**fields: Any) -> RequestRecord:
    record = miner().answer(chat_body(1))
    [choice] = receipt_of(record).choices
    return miner().answer(chat_body(1), choices=(choice.model_copy(update=fields),))


@pytest.mark.parametrize(
    ("fields", "word"),
    [
        ({"output_tokens": 39}, "39 output tokens"),
        ({"output_tokens": 41}, "41 output tokens"),
        ({"prompt_tokens": 5}, "5 prompt tokens"),
        ({"cached_tokens": 10_000}, "cache"),
        ({"cached_tokens": 16}, "points"),
        ({"output_digest": "0" * 64}, "other output tokens"),
        ({"index": 1}, "choices [1]"),
    ],
)
def test_a_choice_that_differs_from_what_the_gateway_saw_fails(fields: dict[str, Any], word: str) -> None:
    assert_fails(with_choice(**fields), "receipt", word)


def test_the_last_prompt_token_can_not_come_from_the_cache() -> None:
    record = miner().answer(chat_body(1))
    prompt_tokens = receipt_of(record).choices[0].prompt_tokens
    assert_fails(with_choice(cached_tokens=prompt_tokens), "receipt", "always computed")


def test_the_same_choice_twice_fails() -> None:
    record = miner().answer(chat_body(1, n=2))
    first = receipt_of(record).choices[0]
    assert_fails(miner().answer(chat_body(1, n=2), choices=(first, first)), "receipt", "choices [0, 0]")


def test_a_choice_that_was_asked_for_and_is_not_answered_fails() -> None:
    asked, answered = miner().answer(chat_body(1, n=2)), miner().answer(chat_body(1))
    record = asked.model_copy(update={"choices": answered.choices})
    finding = check_prompts(
        receipt_of(answered), record, renderer().prompts(record.path, record.request_body)
    )
    assert finding is not None
    assert "1 choices, 2 were asked for" in finding.reason


def stripped_system_prompt(record: RequestRecord) -> tuple[RequestRecord, Receipt]:
    """What a miner answers that leaves out the template's own system prompt."""
    prompt = record.choices[0].prompt_token_ids[20:]
    choice = record.choices[0].model_copy(update={"prompt_token_ids": prompt})
    stated = (
        receipt_of(record)
        .choices[0]
        .model_copy(update={"prompt_tokens": len(prompt), "prompt_digest": token_ids_digest(prompt)})
    )
    receipt = receipt_of(record).model_copy(update={"choices": (stated,)})
    return record.model_copy(update={"choices": (choice,)}), receipt


def test_a_prompt_without_its_system_part_fails() -> None:
    record, receipt = stripped_system_prompt(miner().answer(chat_body(1)))
    finding = check_prompts(receipt, record, renderer().prompts(record.path, record.request_body))
    assert finding is not None
    assert finding.check == "prompt"
    assert "chat template" in finding.reason


def test_a_prompt_that_differs_in_one_token_fails() -> None:
    record = miner().answer(chat_body(1))
    prompt = list(renderer().prompts(record.path, record.request_body)[0])
    prompt[7] += 1
    finding = check_prompts(receipt_of(record), record, [prompt])
    assert finding is not None
    assert "from token 7" in finding.reason


def test_a_digest_of_another_prompt_fails_even_when_the_answer_shows_the_right_one() -> None:
    record = with_choice(prompt_digest="0" * 64)
    assert_fails(record, "prompt")


def test_a_token_that_the_model_does_not_have_fails() -> None:
    record = miner().answer(chat_body(1))
    assert check_vocabulary(record, 49_152) is None
    for token in (-1, 49_152, 1 << 40):
        choice = record.choices[0].model_copy(update={"output_token_ids": (5, token)})
        finding = check_vocabulary(record.model_copy(update={"choices": (choice,)}), 49_152)
        assert finding is not None
        assert (finding.outcome, finding.check) == ("fail", "receipt")


def test_a_foreign_token_in_the_clients_prompt_is_not_the_miners_fault() -> None:
    body = {"request_id": "request-ids", "prompt": [5, 60_000], "seed": 5}
    text_ids = renderer().prompts("/v1/completions", '{"prompt": [5, 60000]}')
    record = miner().answer({**body, "prompt": [5, 6]}, path="/v1/completions")
    choice = record.choices[0].model_copy(update={"prompt_token_ids": tuple(text_ids[0])})
    finding = check_vocabulary(record.model_copy(update={"choices": (choice,)}), 49_152)
    assert finding is not None
    assert (finding.outcome, finding.check) == ("inconclusive", "request")
