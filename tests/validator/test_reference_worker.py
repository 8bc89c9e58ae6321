import asyncio
import logging
import threading
from collections.abc import Mapping, Sequence
from typing import Any, cast

import pytest
import torch
from torch import Tensor

from shared.commitments import Point
from shared.errors import ModelError
from shared.reference_model import ReferenceModel
from tests.validator.example_miner import reference
from validator.reference_worker import ReferenceWorker

TOKENS = {0: [1, 500, 600, 700, 800], 1: [1, 900, 901]}
POINTS = [Point(0, 4, 4), Point(0, 1, 2), Point(0, 2, 2), Point(1, 2, 3), Point(0, 3, 0)]


class Recording:
    """The tiny reference; notes what each pass was asked, and in which thread."""

    def __init__(self) -> None:
        self.passes: list[tuple[list[int], dict[int, list[int]]]] = []
        self.threads: set[int] = set()
        self.num_layers = reference().num_layers

    def hidden_states(
        self, token_ids: Sequence[int], points: Mapping[int, Sequence[int]]
    ) -> dict[int, Tensor]:
        self.threads.add(threading.get_ident())
        self.passes.append((list(token_ids), {layer: list(at) for layer, at in points.items()}))
        return reference().hidden_states(token_ids, points)


def worker_over(model: Any) -> ReferenceWorker:
    return ReferenceWorker(lambda: cast(ReferenceModel, model))


async def test_every_point_gets_its_own_vector() -> None:
    worker = worker_over(reference())
    found = await worker.hidden_states(TOKENS, POINTS)
    assert set(found) == set(POINTS)
    for point, vector in found.items():
        alone = reference().hidden_states(TOKENS[point.choice], {point.layer: [point.position]})
        assert torch.allclose(vector, alone[point.layer][0], atol=1e-4)
    worker.close()


async def test_one_pass_answers_all_points_of_a_choice_and_goes_no_deeper_than_needed() -> None:
    recording = Recording()
    worker = worker_over(recording)
    await worker.hidden_states(TOKENS, [*POINTS, *POINTS])
    worker.close()
    assert recording.passes == [
        (TOKENS[0], {0: [3], 2: [1, 2], 4: [4]}),
        (TOKENS[1], {3: [2]}),
    ]


async def test_the_event_loop_goes_on_while_a_pass_runs() -> None:
    started, go_on = threading.Event(), threading.Event()

    class Blocking(Recording):
        def hidden_states(
            self, token_ids: Sequence[int], points: Mapping[int, Sequence[int]]
        ) -> dict[int, Tensor]:
            started.set()
            assert go_on.wait(30)
            return super().hidden_states(token_ids, points)

    model = Blocking()
    worker = worker_over(model)
    waiting = asyncio.create_task(worker.hidden_states(TOKENS, POINTS))
    while not started.is_set():
        await asyncio.sleep(0)
    assert not waiting.done()
    go_on.set()
    await waiting
    worker.close()
    assert threading.get_ident() not in model.threads
    assert len(model.threads) == 1


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


@pytest.mark.parametrize("point", [Point(0, 5, 1), Point(0, 1, 9), Point(2, 0, 1)])
async def test_a_point_that_does_not_exist_is_the_auditors_trouble(point: Point) -> None:
    worker = worker_over(reference())
    with pytest.raises(ModelError, match="can't compute choice"):
        await worker.hidden_states(TOKENS, [point])
    worker.close()
