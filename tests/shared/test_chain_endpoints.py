import pytest
from bittensor.error_map import (
    CUSTOM_TRANSACTION_ERRORS,
    DISPATCH_ERRORS,
    INVALID_TRANSACTION_ERRORS,
    NAME_TO_CODE,
    ErrorCode,
)
from bittensor.result import ChainError as SdkChainError
from bittensor.settings import NETWORKS
from hypothesis import given
from hypothesis import strategies as st

from shared.chain_endpoints import LONGEST_REST_S, EndpointPool
from shared.chain_head import BLOCK_S, LATE_BLOCKS, STANDING_BLOCKS, HeadWatch
from shared.chain_network import Endpoint, check_network, endpoints_of, first_network, is_local_network
from shared.chain_refusals import _BY_NAME, LOST_NAMES, Refusal, code_of, refusal_of
from shared.errors import ConfigError

A, B, C = (Endpoint(f"ws://{name}:1") for name in "abc")


class Clock:
    now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


def pool(*endpoints: Endpoint, chance: float = 1.0) -> tuple[EndpointPool, Clock]:
    clock = Clock()
    return EndpointPool(endpoints, clock, lambda: chance), clock


def test_the_first_endpoint_is_used_until_it_fails_and_then_the_next_which_is_kept() -> None:
    endpoints, clock = pool(A, B)
    assert endpoints.next() == A
    endpoints.failed(A)
    assert endpoints.next() == B
    endpoints.worked(B)
    clock.now_s = 1e6
    assert endpoints.next() == B, "a healthy endpoint is not left for the preferred one"
    endpoints.failed(B)
    assert endpoints.next() == A


def test_one_failure_is_tried_again_at_once_and_more_rest_longer_each_time() -> None:
    endpoints, clock = pool(A)
    endpoints.failed(A)
    assert endpoints.next() == A
    rests = []
    for _ in range(8):
        endpoints.failed(A)
        assert endpoints.next() is None
        rests.append(endpoints.resting_s())
        clock.now_s += rests[-1]
        assert endpoints.next() == A
    assert rests == [1, 2, 4, 8, LONGEST_REST_S, LONGEST_REST_S, LONGEST_REST_S, LONGEST_REST_S]


def test_an_endpoint_that_asks_for_patience_rests_longest_at_once() -> None:
    endpoints, _ = pool(A, B)
    endpoints.failed(A, told_to_wait=True)
    assert endpoints.next() == B
    endpoints.failed(B, told_to_wait=True)
    assert endpoints.resting_s() == LONGEST_REST_S


def test_an_answer_ends_the_patience() -> None:
    endpoints, _ = pool(A)
    for _ in range(5):
        endpoints.failed(A)
    endpoints.worked(A)
    endpoints.failed(A)
    assert endpoints.next() == A


@given(st.floats(0, 1), st.integers(2, 40))
def test_rests_differ_by_chance_within_a_half(chance: float, failures: int) -> None:
    certain, _ = pool(A)
    varied, _ = pool(A, chance=chance)
    for _ in range(failures):
        certain.failed(A)
        varied.failed(A)
    assert certain.resting_s() / 2 <= varied.resting_s() <= certain.resting_s() <= LONGEST_REST_S


def test_a_failure_of_an_endpoint_that_is_not_in_use_changes_nothing_for_the_one_that_is() -> None:
    endpoints, _ = pool(A, B, C)
    endpoints.failed(B)
    assert endpoints.next() == A
    endpoints.failed(B)
    assert endpoints.others(A) == [C], "B rests"


def test_a_name_has_its_public_endpoints_and_an_address_itself() -> None:
    finney = endpoints_of("finney")
    assert finney[0].url == NETWORKS["finney"]
    assert len(finney) > 1
    assert finney[0].archives
    assert endpoints_of("ws://a:1, ws://b:1 ,ws://a:1") == (A, B)
    assert endpoints_of("ws://a:1,finney") == (A, *finney)


@pytest.mark.parametrize("network", ["main", "ws://a:1,main", "", " , ", "http://a:1"])
def test_what_is_no_network_is_refused_with_what_there_is(network: str) -> None:
    with pytest.raises(ConfigError, match="--network"):
        check_network(network)


def test_several_endpoints_are_local_only_together() -> None:
    assert is_local_network("ws://127.0.0.1:1, local")
    assert not is_local_network("ws://127.0.0.1:1,finney")
    assert first_network(" finney ,ws://a:1") == "finney"


def test_secrets_in_an_address_are_not_shown() -> None:
    (endpoint,) = endpoints_of("wss://user:password@node.example:443/token?key=secret")
    assert endpoint.shown == "wss://node.example:443"


def watch(now_ms: int = 0) -> tuple[HeadWatch, Clock]:
    clock = Clock()
    return HeadWatch(clock, lambda: now_ms), clock


def test_a_head_that_moves_is_no_trouble_and_one_that_stands_is() -> None:
    head, clock = watch()
    for number in range(20):
        clock.now_s = number * 4 * BLOCK_S
        head.note(number)
        assert head.trouble() is None
    clock.now_s += STANDING_BLOCKS * BLOCK_S - 1
    head.note(19)
    assert head.trouble() is None
    clock.now_s += 1
    head.note(18)
    assert head.trouble() == "block 19 has been the newest for 60 s"
    head.note(20)
    assert head.trouble() is None


def test_a_head_behind_the_clock_is_trouble_and_one_before_it_is_not() -> None:
    late_ms = int(LATE_BLOCKS * BLOCK_S * 1000)
    head, _ = watch(now_ms=10 * late_ms)
    head.note(1, 9 * late_ms)
    assert head.trouble() is None
    head.note(1, 9 * late_ms - 1)
    assert "is 120 s old by this machine's clock" in (head.trouble() or "")
    head.note(1, 11 * late_ms)
    assert head.trouble() is None


def test_every_name_that_is_handled_is_one_that_the_sdk_knows() -> None:
    known = {
        *NAME_TO_CODE,
        *DISPATCH_ERRORS,
        *CUSTOM_TRANSACTION_ERRORS.values(),
        *(name for _, name in INVALID_TRANSACTION_ERRORS),
        *(code.value for code in ErrorCode),
        "PoolFull",
        "UidNotFound",
    }
    assert _BY_NAME.keys() <= known
    assert known >= LOST_NAMES


def test_every_rate_limit_of_the_sdk_that_can_meet_us_is_one() -> None:
    ours = (
        "SettingWeightsTooFast",
        "CommittingWeightsTooFast",
        "ServingRateLimitExceeded",
        "RateLimitExceeded",
    )
    for name in ours:
        assert refusal_of(name) is Refusal.RATE_LIMIT
    assert refusal_of("SomethingNew") is Refusal.OTHER
    assert refusal_of("") is Refusal.OTHER


def test_an_error_has_its_name_or_the_sdks_category() -> None:
    assert code_of(SdkChainError("text", "SettingWeightsTooFast")) == "SettingWeightsTooFast"
    assert code_of(SdkChainError("text", code=ErrorCode.RATE_LIMITED)) == "rate_limited"
    full = "Immediately Dropped: The transaction couldn't enter the pool because of the limit"
    assert code_of(SdkChainError(full)) == "PoolFull"
