import asyncio
import logging
import threading
from collections.abc import Callable, Sequence
from typing import Any, cast

import pytest
import torch
from torch import Tensor

from shared.commitments import Point
from shared.errors import ModelError
from shared.reference_batches import PassCosts
from shared.reference_examination import Examination, Reading
from shared.reference_logits import LogitsRequest
from shared.reference_model import ReferenceModel
from tests.shared.small_models import small_reference as reference
from validator.reference_worker import ReferenceWorker

TOKENS = {0: [1, 50, 60, 70, 80], 1: [1, 90, 91]}
POINTS = [Point(0, 4, 3), Point(0, 1, 2), Point(0, 2, 2), Point(1, 2, 3), Point(0, 3, 0)]


class Recording:
    """The small reference; notes what each call was asked, and in which thread.

    `hold` keeps calls from beginning until it is set.
    """

    def __init__(self, budget_tokens: int = 64) -> None:
        self.calls: list[list[Examination]] = []
        self.threads: set[int] = set()
        self.started, self.hold = threading.Event(), threading.Event()
        self.hold.set()
        self.num_layers = reference().num_layers
        self.costs = PassCosts(4, budget_tokens)

    def check(self, asked: Examination) -> None:
        reference().check(asked)

    def hand_out(self, reading: Reading) -> None:
        self.threads.add(threading.get_ident())
        reference().hand_out(reading)

    def examine(self, asked: Sequence[Examination]) -> list[Reading]:
        self.threads.add(threading.get_ident())
        self.calls.append(list(asked))
        self.started.set()
        assert self.hold.wait(30)
        return reference().examine(asked)

    def lengths(self) -> list[list[int]]:
        """The lengths of the sequences in each call."""
        return [[len(one.token_ids) for one in call] for call in self.calls]


def worker_over(model: Any) -> ReferenceWorker:
    return ReferenceWorker(lambda: cast(ReferenceModel, model), gather_s=0)


async def until(condition: Callable[[], bool]) -> None:
    while not condition():
        await asyncio.sleep(0)


def tokens(count: int) -> dict[int, list[int]]:
    return {0: list(range(10, 10 + count))}


def point(count: int) -> list[Point]:
    return [Point(0, count - 1, 1)]


async def test_every_point_gets_its_own_vector() -> None:
    worker = worker_over(reference())
    found = await worker.hidden_states(TOKENS, POINTS)
    assert set(found) == set(POINTS)
    for place, vector in found.items():
        alone = reference().hidden_states(TOKENS[place.choice], {place.layer: [place.position]})
        assert torch.allclose(vector, alone[place.layer][0], atol=1e-4)
    worker.close()


async def test_one_call_answers_all_points_of_all_choices() -> None:
    recording = Recording()
    worker = worker_over(recording)
    await worker.hidden_states(TOKENS, [*POINTS, *POINTS])
    worker.close()
    assert recording.calls == [
        [Examination(TOKENS[0], {0: [3], 2: [1, 2], 3: [4]}), Examination(TOKENS[1], {3: [2]})]
    ]


async def test_logits_reach_the_readers_of_their_choices_before_the_answer() -> None:
    recording = Recording()
    worker = worker_over(recording)
    read: dict[int, list[tuple[int, Tensor]]] = {0: [], 1: []}
    threads: set[int] = set()

    def reader(choice: int) -> Callable[[int, Tensor], None]:
        def take(first_position: int, logits: Tensor) -> None:
            threads.add(threading.get_ident())
            read[choice].append((first_position, logits.clone()))

        return take

    wanted = {0: LogitsRequest(1, 3, reader(0)), 1: LogitsRequest(0, 1, reader(1))}
    found = await worker.examine(TOKENS, [Point(0, 4, 3)], wanted)
    worker.close()
    assert set(found) == {Point(0, 4, 3)}
    assert threads == recording.threads
    for choice, (first, rows) in {0: (1, 3), 1: (0, 2)}.items():
        ((position, logits),) = read[choice]
        assert (position, len(logits)) == (first, rows)
        assert torch.allclose(logits, plain_logits(TOKENS[choice])[first : first + rows], atol=1e-4)


def plain_logits(token_ids: list[int]) -> Tensor:
    rows: list[Tensor] = []
    wanted = LogitsRequest(0, len(token_ids) - 1, lambda _, logits: rows.append(logits.clone()))
    (reading,) = reference().examine([Examination(token_ids, {}, wanted)])
    reference().hand_out(reading)
    return torch.cat(rows)


async def test_the_event_loop_goes_on_while_a_pass_runs() -> None:
    model = Recording()
    model.hold.clear()
    worker = worker_over(model)
    waiting = asyncio.create_task(worker.hidden_states(TOKENS, POINTS))
    await until(model.started.is_set)
    assert not waiting.done()
    model.hold.set()
    await waiting
    worker.close()
    assert threading.get_ident() not in model.threads
    assert len(model.threads) == 1


async def test_audits_that_wait_together_are_computed_together() -> None:
    model = Recording()
    worker = worker_over(model)
    await worker.load()
    found = await asyncio.gather(*(worker.hidden_states(tokens(n), point(n)) for n in (3, 4, 5)))
    worker.close()
    assert model.lengths() == [[3, 4, 5]]
    for n, vectors in zip((3, 4, 5), found, strict=True):
        alone = reference().hidden_states(tokens(n)[0], {1: [n - 1]})
        assert torch.allclose(vectors[point(n)[0]], alone[1][0], atol=1e-4)


async def test_what_comes_while_a_pass_runs_waits_for_the_next() -> None:
    model = Recording()
    model.hold.clear()
    worker = worker_over(model)
    first = asyncio.create_task(worker.hidden_states(tokens(3), point(3)))
    await until(model.started.is_set)
    later = [asyncio.create_task(worker.hidden_states(tokens(n), point(n))) for n in (4, 5)]
    await asyncio.sleep(0)
    model.hold.set()
    await asyncio.gather(first, *later)
    worker.close()
    assert model.lengths() == [[3], [4, 5]]


async def test_no_more_is_computed_together_than_one_pass_takes_and_nobody_is_overtaken() -> None:
    model = Recording(budget_tokens=10)
    worker = worker_over(model)
    await worker.load()
    lengths = (6, 4, 8, 30, 2, 3)
    await asyncio.gather(*(worker.hidden_states(tokens(n), point(n)) for n in lengths))
    worker.close()
    assert model.lengths() == [[6, 4], [8], [30], [2, 3]]


async def test_an_audit_nobody_waits_for_any_more_is_not_computed() -> None:
    model = Recording()
    model.hold.clear()
    worker = worker_over(model)
    first = asyncio.create_task(worker.hidden_states(tokens(3), point(3)))
    await until(model.started.is_set)
    given_up = asyncio.create_task(worker.hidden_states(tokens(4), point(4)))
    await asyncio.sleep(0)
    given_up.cancel()
    await asyncio.sleep(0)
    model.hold.set()
    await first
    assert await worker.hidden_states(tokens(5), point(5))
    worker.close()
    assert model.lengths() == [[3], [5]]


async def test_an_audit_given_up_while_it_is_computed_harms_no_other() -> None:
    model = Recording()
    model.hold.clear()
    worker = worker_over(model)
    await worker.load()
    given_up, other = (asyncio.create_task(worker.hidden_states(tokens(n), point(n))) for n in (3, 4))
    await until(model.started.is_set)
    given_up.cancel()
    model.hold.set()
    assert await other
    worker.close()
    assert given_up.cancelled()


async def test_closing_drops_what_waits() -> None:
    model = Recording(budget_tokens=1)
    model.hold.clear()
    worker = worker_over(model)
    running, waiting = (asyncio.create_task(worker.hidden_states(tokens(n), point(n))) for n in (3, 4))
    await until(model.started.is_set)
    model.hold.set()
    worker.close()
    await asyncio.wait([running, waiting])
    assert waiting.cancelled()
    assert model.lengths() == [[3]]


async def test_the_model_is_loaded_once_at_the_first_use_with_a_log_line(
    caplog: pytest.LogCaptureFixture,
) -> None:
    loads = []

    def load() -> ReferenceModel:
        loads.append(1)
        return reference()

    worker = ReferenceWorker(load)
    assert loads == []
    with caplog.at_level(logging.INFO, logger="validator.reference_worker"):
        await asyncio.gather(*(worker.hidden_states(TOKENS, POINTS) for _ in range(3)))
        assert await worker.load() is reference()
    worker.close()
    assert loads == [1]
    assert "loading the reference model" in caplog.text


async def test_a_model_that_can_not_be_loaded_is_tried_again_the_next_time() -> None:
    answers: list[Any] = [ModelError("the disk is away"), reference()]

    def load() -> ReferenceModel:
        answer = answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return cast(ReferenceModel, answer)

    worker = ReferenceWorker(load)
    with pytest.raises(ModelError, match="the disk is away"):
        await worker.hidden_states(TOKENS, POINTS)
    assert await worker.hidden_states(TOKENS, POINTS)
    worker.close()


@pytest.mark.parametrize("place", [Point(0, 5, 1), Point(0, 1, 9), Point(2, 0, 1)])
async def test_a_point_that_does_not_exist_is_the_auditors_trouble(place: Point) -> None:
    worker = worker_over(reference())
    with pytest.raises(ModelError, match="can't compute choice"):
        await worker.hidden_states(TOKENS, [place])
    worker.close()


async def test_an_audit_that_fails_fails_alone() -> None:
    worker = worker_over(reference())
    await worker.load()
    bad = worker.hidden_states({0: [1, -5]}, [Point(0, 1, 1)])
    good = worker.hidden_states(TOKENS, POINTS)
    failed, found = await asyncio.gather(bad, good, return_exceptions=True)
    worker.close()
    assert isinstance(failed, ModelError)
    assert isinstance(found, dict)
    assert set(found) == set(POINTS)
