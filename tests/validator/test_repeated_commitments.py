"""One commitment for two answers is proof of a copy, unless one computation explains both."""

from typing import Any

from bittensor.sp_core import Keypair

from shared.canonical import sha256_hex
from shared.commitments import CommittedPoints
from shared.receipts import Receipt
from tests.validator.auditor_examples import (
    ALSO_HONEST,
    HONEST,
    START_MS,
    block_number,
    example_record,
    example_verdict,
    many_records,
)
from validator.measurement import EpochInputs, RegisteredMiner
from validator.repeated_commitments import repeated_commitments
from validator.request_facts import RequestFacts, facts_of
from validator.scoring import score
from validator.scoring_config import ScoringConfig

ROOT = sha256_hex(b"one root")


def answer(
    number: int, miner: Keypair = HONEST, at_ms: int = START_MS, root: str = ROOT, **of_choice: Any
) -> RequestFacts:
    facts = facts_of(example_record(number, miner, finished_at_ms=at_ms + number))
    assert facts.receipt is not None
    choice = facts.receipt.choices[0].model_copy(update={"prompt_tokens": 40} | of_choice)
    fields = dict(facts.receipt) | {"choices": (choice,), "merkle_root": root}
    return facts.model_copy(update={"receipt": Receipt.model_construct(**fields)})


def same_positions(count: int) -> list[int]:
    """Numbers of requests of one token that draw the same positions in a prompt of two."""
    by_points: dict[tuple[Any, ...], list[int]] = {}
    for number in range(2000):
        shape = answer(number, prompt_tokens=2, output_tokens=1).receipt
        assert shape is not None
        points = CommittedPoints(shape.request_id, 3, [one.shape() for one in shape.choices]).points
        own = by_points.setdefault(tuple(points), [])
        own.append(number)
        if len(own) == count:
            return own
    raise AssertionError("no two draw the same positions")


def test_a_root_over_other_positions_is_a_copy_of_the_earlier_answer() -> None:
    original, copy = answer(1), answer(2, ALSO_HONEST)
    for order in ([original, copy], [copy, original]):
        (found,) = repeated_commitments(order)
        assert (found.hotkey, found.request_id) == (ALSO_HONEST.ss58_address, copy.request_id)
        assert (found.copied_hotkey, found.copied_request) == (HONEST.ss58_address, original.request_id)


def test_each_further_copy_is_named() -> None:
    copies = repeated_commitments([answer(1), answer(2), answer(3, ALSO_HONEST)])
    assert [one.request_id for one in copies] == ["request-000002", "request-000003"]


def test_roots_of_their_own_are_no_copies() -> None:
    assert repeated_commitments(facts_of(one) for one in many_records(HONEST, 1, range(50))) == []


def test_the_same_computation_on_two_machines_is_no_copy() -> None:
    """Engines of one kind compute the same bits; which token was drawn last is not committed."""
    one, other = same_positions(2)
    tokens: dict[str, Any] = {"prompt_tokens": 2, "output_tokens": 1}
    equal = [answer(one, **tokens), answer(other, ALSO_HONEST, **tokens)]
    assert repeated_commitments(equal) == []
    drawn_otherwise = answer(other, ALSO_HONEST, output_digest=sha256_hex(b"another token"), **tokens)
    assert repeated_commitments([equal[0], drawn_otherwise]) == []


def test_the_same_positions_of_another_prompt_are_a_copy() -> None:
    one, other = same_positions(2)
    tokens: dict[str, Any] = {"prompt_tokens": 2, "output_tokens": 1}
    copy = answer(other, ALSO_HONEST, prompt_digest=sha256_hex(b"another prompt"), **tokens)
    (found,) = repeated_commitments([answer(one, **tokens), copy])
    assert found.request_id == copy.request_id


def test_commitments_to_nothing_and_failed_answers_are_no_copies() -> None:
    empty = [
        one.model_copy(update={"receipt": one.receipt.model_copy(update={"leaves": 0})})
        for one in (answer(1), answer(2))
        if one.receipt is not None
    ]
    failed = answer(2).model_copy(update={"outcome": "failed"})
    missing = answer(3).model_copy(update={"receipt": None})
    assert repeated_commitments(empty) == []
    assert repeated_commitments([answer(1), failed, missing]) == []


def test_who_copies_earns_nothing_and_who_was_copied_everything() -> None:
    records = [*many_records(HONEST, 1, range(5)), *many_records(ALSO_HONEST, 2, range(10, 15))]
    requests = [facts_of(one) for one in records]
    requests[0] = answer(0, root=ROOT)
    requests[-1] = answer(14, ALSO_HONEST, root=ROOT)
    miners = [
        RegisteredMiner(uid=uid, hotkey=miner.ss58_address)
        for uid, miner in enumerate((HONEST, ALSO_HONEST), start=1)
    ]
    verdicts = [example_verdict(one, block_number(1)) for one in records]
    honest, copier = score(EpochInputs(1, requests, verdicts, miners, ()), ScoringConfig())
    assert honest.score == 1.0
    assert copier.score == 0.0
    assert "repeats the commitment of request-000000" in copier.reasons[0]
