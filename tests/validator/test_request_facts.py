import json

import pytest
from pydantic import ValidationError

from shared.canonical import canonical_json, sha256_hex, token_ids_digest
from shared.records import RequestRecord
from tests.validator.auditor_examples import ALSO_HONEST, HONEST, SECRET, example_record
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


def test_attempts_at_one_clients_request_are_seen_to_serve_it() -> None:
    first, second = example_record(1), example_record(2)
    retry = second.model_copy(update={"client_request": first.request_id})
    assert facts_of(retry).serves == facts_of(first).serves == first.request_id
    assert facts_of(retry).key != facts_of(first).key
    assert facts_of(second).serves == second.request_id


def test_facts_from_before_clients_requests_were_recorded_are_read() -> None:
    facts = facts_of(example_record(1))
    fields = json.loads(canonical_json(facts))
    del fields["client_request"]
    old = RequestFacts.model_validate_json(json.dumps(fields))
    assert (old.client_request, old.serves) == (None, old.request_id)
    assert old == facts


def test_records_from_before_clients_requests_were_recorded_are_read() -> None:
    fields = json.loads(canonical_json(example_record(1)))
    del fields["client_request"]
    old = RequestRecord.model_validate_json(json.dumps(fields))
    assert (old.client_request, facts_of(old).serves) == (None, old.request_id)


@pytest.mark.parametrize("name", ["", "short", "what the client asked"])
def test_no_words_fit_where_a_clients_request_is_named(name: str) -> None:
    fields = json.loads(canonical_json(facts_of(example_record(1)))) | {"client_request": name}
    with pytest.raises(ValidationError):
        RequestFacts.model_validate_json(json.dumps(fields))


CLIENT = "0123456789abcdef" * 2


def test_a_clients_name_is_another_one_in_every_epoch_and_at_every_miner() -> None:
    asked = [
        example_record(number, miner).model_copy(update={"client": CLIENT})
        for number, miner in enumerate([HONEST, HONEST, ALSO_HONEST])
    ]
    first, second, elsewhere = (facts_of(one, epoch=7).client for one in asked)
    assert first == second != elsewhere
    later = facts_of(asked[0], epoch=8).client
    names = {first, elsewhere, later}
    assert len(names) == 3
    assert CLIENT not in names


def test_the_gateways_own_name_of_a_client_is_not_published() -> None:
    record = example_record(1).model_copy(update={"client": CLIENT})
    assert CLIENT not in canonical_json(facts_of(record)).decode()


def test_records_and_facts_from_before_clients_were_named_are_read() -> None:
    record, facts = example_record(1), facts_of(example_record(1))
    for message in (record, facts):
        fields = json.loads(canonical_json(message))
        del fields["client"]
        old = type(message).model_validate_json(json.dumps(fields))
        assert (old.client, old) == (None, message)


@pytest.mark.parametrize("name", ["", "alice@example.org", "0123456789ABCDEF" * 2, CLIENT + "0", "192.0.2.1"])
def test_no_words_fit_where_a_client_is_named(name: str) -> None:
    for message in (example_record(1), facts_of(example_record(1))):
        fields = json.loads(canonical_json(message)) | {"client": name}
        with pytest.raises(ValidationError):
            type(message).model_validate_json(json.dumps(fields))


@pytest.mark.parametrize("served", [None, "request-000000"])
def test_facts_survive_their_json(served: str | None) -> None:
    facts = facts_of(example_record(1).model_copy(update={"client_request": served}))
    assert facts.client_request == served
    assert RequestFacts.model_validate_json(canonical_json(facts)) == facts
    assert json.loads(canonical_json(facts))["version"] == "request/2"
