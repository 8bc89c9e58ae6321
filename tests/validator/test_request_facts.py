import json

import pytest

from shared.canonical import canonical_json, sha256_hex, token_ids_digest
from tests.validator.auditor_examples import SECRET, example_record
from validator.request_facts import RequestFacts, facts_of


def test_no_text_is_published() -> None:
    record = example_record(1)
    assert SECRET in record.request_body
    assert SECRET not in canonical_json(facts_of(record)).decode()


def test_a_prompt_hidden_in_a_false_receipt_is_not_published() -> None:
    facts = facts_of(example_record(1, receipt={"note": SECRET}))
    assert facts.receipt is None
    assert SECRET not in canonical_json(facts).decode()


def test_a_prompt_hidden_beside_a_true_receipt_is_not_published() -> None:
    own = example_record(1).receipt
    assert own is not None
    assert facts_of(example_record(1, receipt=own | {"note": SECRET})).receipt is None


def test_error_text_of_a_miner_is_not_published() -> None:
    failed = example_record(1, outcome="failed")
    assert failed.error is not None
    assert failed.error not in canonical_json(facts_of(failed)).decode()


def test_digests_are_those_of_the_record() -> None:
    facts = facts_of(example_record(1, output_tokens=5))
    assert facts.request_digest == sha256_hex(example_record(1).request_body.encode())
    assert facts.choices[0].output_digest == token_ids_digest(range(5))
    assert facts.receipt is not None


@pytest.mark.parametrize("token", [-1, 1 << 32])
def test_token_ids_out_of_range_have_no_digest(token: int) -> None:
    record = example_record(1)
    choice = record.choices[0].model_copy(update={"output_token_ids": (token,)})
    facts = facts_of(record.model_copy(update={"choices": (choice,)}))
    assert facts.choices[0].output_digest is None
    assert facts.choices[0].output_tokens == 1


def test_facts_survive_their_json() -> None:
    facts = facts_of(example_record(1))
    assert RequestFacts.model_validate_json(canonical_json(facts)) == facts
    assert json.loads(canonical_json(facts))["version"] == "request/1"
