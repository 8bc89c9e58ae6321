from bittensor.intents.weights import _conform, _Preflight
from hypothesis import given
from hypothesis import strategies as st

from shared.chain_weights import fitted_row

U16_MAX = 65_535
rows = st.dictionaries(st.integers(0, 255), st.integers(1, U16_MAX), min_size=1, max_size=30)


@given(rows)
def test_without_a_limit_weights_keep_their_ratio_to_the_largest(weights: dict[int, int]) -> None:
    top = max(weights.values())
    exact = {uid: round(weight / top * U16_MAX) for uid, weight in weights.items()}
    assert fitted_row(weights, U16_MAX) == {uid: weight for uid, weight in exact.items() if weight}


@given(rows, st.integers(1_000, U16_MAX))
def test_no_share_is_above_the_limit_where_that_is_possible(weights: dict[int, int], limit: int) -> None:
    row = fitted_row(weights, limit)
    possible = len(weights) * (limit - 8) > U16_MAX
    if possible and limit < U16_MAX:
        assert max(row.values()) * U16_MAX <= limit * sum(row.values())
    assert max(row.values()) == U16_MAX


@given(rows, st.integers(1_000, U16_MAX))
def test_the_sdk_sends_the_row_as_it_is(weights: dict[int, int], limit: int) -> None:
    row = fitted_row(weights, limit)
    uids, values = list(row), [float(value) for value in row.values()]
    sent = _conform(uids, values, _Preflight(999, False, 0, limit), 97)
    if max(values) * U16_MAX <= limit * sum(values):
        assert dict(zip(*sent, strict=True)) == row
