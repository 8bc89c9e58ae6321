from collections.abc import Sequence
from typing import cast

import torch
from torch import Tensor

from shared.commitments import Point
from shared.errors import ModelError
from shared.reference_examination import Examination, Reading
from shared.reference_logits import LogitsRequest
from shared.reference_model import ReferenceModel
from tests.shared.small_models import small_reference as reference
from validator.reference_outcomes import Choices, Found, compute


def asking(*tokens: int) -> Choices:
    return {0: Examination(tokens, {1: [len(tokens) - 1]})}


def reading_with(read: LogitsRequest, *tokens: int) -> Choices:
    return {0: Examination(tokens, {1: [1]}, read)}


class Small:
    """The small reference on a device that takes only `room` tokens at once."""

    def __init__(self, room: int) -> None:
        self.room, self.calls = room, 0

    def check(self, asked: Examination) -> None:
        reference().check(asked)

    def hand_out(self, reading: Reading) -> None:
        reference().hand_out(reading)

    def examine(self, asked: Sequence[Examination]) -> list[Reading]:
        self.calls += 1
        if sum(one.length for one in asked) > self.room:
            raise torch.OutOfMemoryError("out of memory")
        return reference().examine(asked)


def computed(audits: Sequence[Choices], model: object = None) -> list[Found | Exception]:
    return compute(cast(ReferenceModel, model or reference()), audits)


def assert_true(outcome: Found | Exception, *tokens: int) -> None:
    assert isinstance(outcome, dict)
    ((point, vector),) = outcome.items()
    assert point == Point(0, len(tokens) - 1, 1)
    alone = reference().hidden_states(tokens, {1: [len(tokens) - 1]})
    assert torch.allclose(vector, alone[1][0], atol=1e-4)


def test_every_audit_gets_its_own_vectors_in_order() -> None:
    outcomes = computed([asking(1, 2, 3), asking(4, 5), asking(6, 7, 8, 9)])
    for outcome, tokens in zip(outcomes, [(1, 2, 3), (4, 5), (6, 7, 8, 9)], strict=True):
        assert_true(outcome, *tokens)


def test_nothing_asked_is_nothing_found() -> None:
    assert computed([]) == []


def test_an_audit_that_can_not_be_computed_says_why_and_harms_no_other() -> None:
    bad = {0: Examination((1, 2), {1: [1]}), 3: Examination((1, 2), {1: [2]})}
    refused, found = computed([bad, asking(4, 5)])
    assert isinstance(refused, ModelError)
    assert "choice 3" in str(refused)
    assert_true(found, 4, 5)


def test_what_does_not_fit_together_is_computed_one_by_one() -> None:
    model = Small(room=3)
    outcomes = computed([asking(1, 2, 3), asking(1, 2, 3, 4), asking(4, 5)], model)
    assert_true(outcomes[0], 1, 2, 3)
    assert_true(outcomes[2], 4, 5)
    assert isinstance(outcomes[1], ModelError)
    assert "4 tokens: out of memory" in str(outcomes[1])
    assert model.calls == 4


def test_no_reader_reads_twice_when_passes_are_repeated_one_by_one() -> None:
    positions: list[int] = []
    wanted = LogitsRequest(0, 1, lambda first, _: positions.append(first))
    computed([reading_with(wanted, 1, 2, 3), reading_with(wanted, 4, 5, 6)], Small(room=2))
    assert positions == [0, 0]


def test_what_a_reader_raises_reaches_its_own_audit_only() -> None:
    def fail(_: int, logits: Tensor) -> None:
        raise ValueError(f"{len(logits)} rows are too many")

    failed, found = computed([reading_with(LogitsRequest(0, 1, fail), 1, 2, 3), asking(4, 5)])
    assert isinstance(failed, ValueError)
    assert str(failed) == "2 rows are too many"
    assert_true(found, 4, 5)
