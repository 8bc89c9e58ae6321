"""What a client may ask of its miner: strictly parsed, kept from miners, and told when nobody meets it."""

import contextlib
import math
from typing import Any

import openai
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.eligibility import eligible, order_of_uids
from gateway.errors import ApiError
from gateway.miners import Endpoint, KnownMiner, MinerListing
from gateway.provider_hints import MOST_NAMED, ProviderHints, parse_provider_hints
from gateway.routing import LEAST_BOUND
from gateway.standings import AuditStanding, Standings
from tests.gateway.running_gateway import CHAT, keypair, running_gateway
from tests.gateway.scripted_miner import honest
from tests.gateway.test_retries import fail

HOTKEYS = [keypair(f"miner{number}").ss58_address for number in range(4)]


def miners() -> list[KnownMiner]:
    return [KnownMiner(MinerListing(uid, hotkey, None), Endpoint(None)) for uid, hotkey in enumerate(HOTKEYS)]


def standings(**by_number: AuditStanding) -> Standings:
    known = Standings()
    known.replace({HOTKEYS[int(name[1:])]: standing for name, standing in by_number.items()})
    return known


@pytest.mark.parametrize(
    ("value", "param"),
    [
        ("fast", "provider"),
        ([], "provider"),
        ({"sort": "price"}, "provider.sort"),
        ({"order": 3}, "provider.order"),
        ({"order": [-1]}, "provider.order[0]"),
        ({"order": [0, 1 << 16]}, "provider.order[1]"),
        ({"order": [True]}, "provider.order[0]"),
        ({"order": [1.0]}, "provider.order[0]"),
        ({"order": ["alice"]}, "provider.order[0]"),
        ({"order": [[1]]}, "provider.order[0]"),
        ({"order": [0] * (MOST_NAMED + 1)}, "provider.order"),
        ({"ignore": [0, None]}, "provider.ignore[1]"),
        ({"ignore": {"0": 1}}, "provider.ignore"),
        ({"require_audited": 1}, "provider.require_audited"),
        ({"allow_fallbacks": "no", "order": [1]}, "provider.allow_fallbacks"),
        ({"allow_fallbacks": False}, "provider.allow_fallbacks"),
        ({"min_pass_rate": 1.01}, "provider.min_pass_rate"),
        ({"min_pass_rate": -0.1}, "provider.min_pass_rate"),
        ({"min_pass_rate": True}, "provider.min_pass_rate"),
        ({"min_pass_rate": "0.5"}, "provider.min_pass_rate"),
        ({"min_pass_rate": math.nan}, "provider.min_pass_rate"),
    ],
)
def test_what_is_wrong_is_named(value: Any, param: str) -> None:
    with pytest.raises(ApiError) as caught:
        parse_provider_hints(value)
    assert (caught.value.status, caught.value.param) == (400, param)


def test_what_is_right_is_taken_over() -> None:
    value = {"order": [3, HOTKEYS[0]], "ignore": [1], "require_audited": True, "min_pass_rate": 1}
    assert parse_provider_hints(value) == ProviderHints((3, HOTKEYS[0]), frozenset({1}), True, True, 1.0)


@pytest.mark.parametrize("value", [None, {}, {"order": []}, {"order": None, "min_pass_rate": 0}])
def test_hints_that_ask_for_nothing_are_none(value: Any) -> None:
    assert parse_provider_hints(value) is None


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)
NAMES = st.sampled_from(["order", "ignore", "allow_fallbacks", "require_audited", "min_pass_rate", "x"])


@given(st.dictionaries(NAMES, JSON, max_size=4) | JSON)
def test_any_value_is_hints_or_a_400(value: Any) -> None:
    with contextlib.suppress(ApiError):
        hints = parse_provider_hints(value)
        assert hints is None or hints.narrows


def test_miners_are_named_by_uid_or_by_hotkey() -> None:
    assert order_of_uids(miners(), (2, HOTKEYS[0], 77)) == (2, 0)
    left = eligible(miners(), ProviderHints(ignore=frozenset({1, HOTKEYS[2]})), Standings())
    assert [miner.uid for miner in left.miners] == [0, 3]


def test_each_condition_says_how_many_it_excluded() -> None:
    known = standings(
        m0=AuditStanding(10, 9, False, 1), m1=AuditStanding(10, 10, True, 1), m2=AuditStanding(0, 0, False, 1)
    )
    hints = ProviderHints(require_audited=True, min_pass_rate=0.95)
    found = eligible(miners(), hints, known)
    assert found.miners == []
    assert sorted(found.excluded.values()) == [1, 1, 2]
    assert eligible(miners(), ProviderHints(min_pass_rate=0.9), known).miners[0].uid == 0


def test_without_fallbacks_only_the_order_is_left() -> None:
    hints = ProviderHints(order=(2,), allow_fallbacks=False)
    assert [miner.uid for miner in eligible(miners(), hints, Standings()).miners] == [2]


async def test_the_preferred_miner_serves_and_miners_never_see_the_hints(tmp_path: Any) -> None:
    async with running_gateway(tmp_path, honest, honest, honest) as gateway:
        for named in (2, gateway.miners[2].hotkey):
            await gateway.openai.chat.completions.create(**CHAT, extra_body={"provider": {"order": [named]}})
        assert [record.miner_uid for record in gateway.records()] == [2, 2]
        assert all(record.steered for record in gateway.records())
        assert all("provider" not in body for body in gateway.miners[2].bodies)


async def test_requests_without_hints_are_not_steered(tmp_path: Any) -> None:
    async with running_gateway(tmp_path, honest) as gateway:
        await gateway.openai.chat.completions.create(**CHAT, extra_body={"provider": {}})
        assert not gateway.records()[0].steered


async def test_another_miner_serves_when_the_preferred_one_fails_unless_fallbacks_are_off(
    tmp_path: Any,
) -> None:
    async with running_gateway(tmp_path, honest, fail) as gateway:
        hints: dict[str, Any] = {"order": [1]}
        await gateway.openai.chat.completions.create(**CHAT, extra_body={"provider": hints})
        assert [record.miner_uid for record in gateway.records()] == [1, 0]
        gateway.clock.advance(100)
        strict = {"provider": hints | {"allow_fallbacks": False}}
        with pytest.raises(openai.InternalServerError) as caught:
            await gateway.openai.chat.completions.create(**CHAT, extra_body=strict)
        assert caught.value.code == "miner_failed"
        assert gateway.records()[-1].miner_uid == 1


async def test_nobody_who_meets_the_hints_is_a_503_that_says_why(tmp_path: Any) -> None:
    async with running_gateway(tmp_path, honest, honest) as gateway:
        hints = {"ignore": [0], "require_audited": True}
        with pytest.raises(openai.InternalServerError) as caught:
            await gateway.openai.chat.completions.create(**CHAT, extra_body={"provider": hints})
        assert (caught.value.status_code, caught.value.code) == (503, "no_miner_matches")
        assert "None of the 2 miners" in caught.value.message
        assert "provider.ignore names 1" in caught.value.message
        assert "1 has no decided audit" in caught.value.message
        assert gateway.records() == []


async def test_only_audited_miners_serve_who_asks_for_it(tmp_path: Any) -> None:
    async with running_gateway(tmp_path, honest, honest) as gateway:
        gateway.parts.provenance.standings.replace({gateway.miners[1].hotkey: AuditStanding(5, 5, False, 1)})
        hints = {"provider": {"require_audited": True, "min_pass_rate": 0.9}}
        await gateway.openai.chat.completions.create(**CHAT, extra_body=hints)
        assert gateway.records()[0].miner_uid == 1


async def test_a_client_can_not_heap_requests_on_one_miner(tmp_path: Any) -> None:
    async with running_gateway(tmp_path, honest, honest, waiting_seconds=0.05) as gateway:
        rival = gateway.parts.table.get(1)
        rival.in_flight = LEAST_BOUND
        await gateway.openai.chat.completions.create(**CHAT, extra_body={"provider": {"order": [1]}})
        assert gateway.records()[0].miner_uid == 0
        for hints in ({"order": [1], "allow_fallbacks": False}, {"ignore": [0]}):
            with pytest.raises(openai.InternalServerError) as caught:
                await gateway.openai.chat.completions.create(**CHAT, extra_body={"provider": hints})
            assert caught.value.code == "overloaded"
        assert gateway.miners[1].bodies == []
