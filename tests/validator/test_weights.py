import pytest
from bittensor.intents.weights import _conform, _Preflight, normalize
from hypothesis import given
from hypothesis import strategies as st

from validator.scoring import MinerScore
from validator.weights import U16_MAX, weights_from_scores

OPEN = _Preflight(uid=200, commit_reveal=False, min_allowed_weights=0, max_weight_limit=U16_MAX)


def scored(uid: int | None, value: float) -> MinerScore:
    return MinerScore(
        uid=uid, hotkey="5" + "A" * 47, requests=1, answered=1, failed=0, output_tokens=1, tokens_per_s=1.0,
        ttft_ms=None, passes=1, fails=0, inconclusive=0, audit_rate=0.1, log_evidence=0.0, support=0,
        throughput=None, latency=None, verification=None, reliability=None, score=value,
        reasons=(),
    )  # fmt: skip


SCORES = st.dictionaries(st.integers(0, 65535), st.floats(0, 1), max_size=256).map(
    lambda values: [scored(uid, value) for uid, value in values.items()]
)


def test_the_best_has_the_largest_u16_and_the_rest_their_ratio() -> None:
    assert weights_from_scores([scored(4, 0.8), scored(2, 0.4), scored(3, 0.0)]) == {2: 32768, 4: 65535}


def test_nobody_earned_means_no_weights() -> None:
    assert weights_from_scores([scored(1, 0.0), scored(2, 0.0)]) == {}
    assert weights_from_scores([]) == {}


def test_departed_hotkeys_have_no_weight() -> None:
    assert weights_from_scores([scored(None, 1.0), scored(5, 0.5)]) == {5: 65535}


def test_a_tiny_score_is_not_rounded_to_nothing() -> None:
    assert weights_from_scores([scored(1, 1.0), scored(2, 1e-9)]) == {1: 65535, 2: 1}


@given(SCORES)
def test_a_weight_is_zero_only_for_a_score_of_zero(scores: list[MinerScore]) -> None:
    weights = weights_from_scores(scores)
    assert weights.keys() == {one.uid for one in scores if one.score > 0}
    assert all(1 <= value <= U16_MAX for value in weights.values())


@given(SCORES)
def test_more_score_is_never_less_weight(scores: list[MinerScore]) -> None:
    weights = weights_from_scores(scores)
    ordered = sorted((one for one in scores if one.score > 0), key=lambda one: one.score)
    ranked = [weights[one.uid] for one in ordered if one.uid is not None]
    assert ranked == sorted(ranked)


@given(SCORES)
def test_the_sdk_sends_exactly_these_numbers(scores: list[MinerScore]) -> None:
    weights = weights_from_scores(scores)
    if not weights:
        return
    uids, values = _conform(list(weights), [float(v) for v in weights.values()], OPEN, netuid=97)
    assert dict(zip(uids, values, strict=True)) == weights


def test_the_sdk_gives_back_every_u16_below_the_largest() -> None:
    uids, values = normalize(list(range(U16_MAX)), [float(value) for value in range(1, U16_MAX + 1)])
    assert values == list(range(1, U16_MAX + 1))
    assert uids == list(range(U16_MAX))


def test_the_sdk_would_change_weights_that_do_not_reach_the_largest_u16() -> None:
    assert normalize([1, 2], [100.0, 50.0]) == ([1, 2], [65535, 32768])


@pytest.mark.parametrize("limit", [U16_MAX // 2])
def test_a_limited_share_is_clipped_by_the_sdk(limit: int) -> None:
    clipping = _Preflight(uid=200, commit_reveal=False, min_allowed_weights=0, max_weight_limit=limit)
    _, values = _conform([1, 2, 3], [65535.0, 100.0, 100.0], clipping, netuid=97)
    assert values != [65535, 100, 100]
