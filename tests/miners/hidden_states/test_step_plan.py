from hypothesis import given
from hypothesis import strategies as st

from miners.hidden_states.capture import row_capacity
from miners.hidden_states.step_plan import PlannedPosition, ScheduledRequest, plan_rows
from shared.committed_positions import CommittedPositions

SHARES = st.lists(st.tuples(st.integers(0, 300), st.integers(1, 80)), min_size=1, max_size=24)


def batch_of(shares: list[tuple[int, int]]) -> list[ScheduledRequest]:
    return [
        ScheduledRequest(f"request-{i}", computed, scheduled)
        for i, (computed, scheduled) in enumerate(shares)
    ]


def flattened(batch: list[ScheduledRequest]) -> list[tuple[str, int]]:
    """What row r of the batch computes, the way the engine lays it out."""
    return [
        (request.internal_id, position)
        for request in batch
        for position in range(request.computed, request.computed + request.scheduled)
    ]


@given(SHARES, st.integers(1, 7))
def test_each_planned_row_computes_the_position_it_is_named_after(
    shares: list[tuple[int, int]], every: int
) -> None:
    batch = batch_of(shares)
    rows = flattened(batch)
    planned = plan_rows(batch, lambda _, start, stop: [p for p in range(start, stop) if p % every == 0])
    assert [rows[one.row] for one in planned] == [(one.internal_id, one.position) for one in planned]
    assert len(planned) == sum(position % every == 0 for _, position in rows)


def test_requests_that_nobody_wants_still_move_the_rows_of_those_behind() -> None:
    batch = [ScheduledRequest("other", 0, 7), ScheduledRequest("mine", 20, 3)]
    planned = plan_rows(batch, lambda name, start, stop: [21] if name == "mine" else [])
    assert planned == [PlannedPosition("mine", 21, 8)]


def test_an_empty_batch_plans_nothing() -> None:
    assert plan_rows([], lambda *_: [0]) == []


@given(SHARES, st.integers(0, 2**32), st.data())
def test_no_batch_wants_more_rows_than_the_buffer_holds(
    shares: list[tuple[int, int]], salt: int, data: st.DataObject
) -> None:
    batch = batch_of(shares)
    drawn = {}
    for request in batch:
        prompt_tokens = data.draw(st.integers(1, request.computed + request.scheduled))
        drawn[request.internal_id] = CommittedPositions(f"{salt}{request.internal_id}", 0, prompt_tokens)
    planned = plan_rows(batch, lambda name, start, stop: drawn[name].within(start, stop))
    tokens = sum(request.scheduled for request in batch)
    assert len(planned) <= row_capacity(tokens, len(batch))


@given(st.integers(1, 1 << 15), st.integers(1, 2048))
def test_the_buffer_never_has_more_rows_than_a_batch_has_tokens(tokens: int, requests: int) -> None:
    assert row_capacity(tokens, requests) <= tokens


def test_capacity_leaves_room_for_unaligned_chunks() -> None:
    """18 tokens that start at the end of a stratum touch three strata, and the tail may draw 4 more."""
    per_request = 3 + 4
    assert row_capacity(18 * 1000, 1000) >= per_request * 1000
