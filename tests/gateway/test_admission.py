"""Keys and limits through the real OpenAI client and a real gateway."""

import asyncio
import json
import logging
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest
from aiohttp import web
from openai import AsyncOpenAI

from gateway.key_store import UNLIMITED, ApiKey, KeyStore, Limits, keys_url, new_secret, open_key_database
from gateway.usage_store import UsageStore, Used
from shared.directed_requests import direct_request
from shared.inference_paths import CHAT_PATH
from tests.gateway.running_gateway import CHAT, HANG_S, RunningGateway, keypair, running_gateway
from tests.gateway.scripted_miner import MODEL, PROMPT_IDS, WORD_IDS, Script, honest

TOKENS = len(PROMPT_IDS) + len(WORD_IDS)
"""What one answer of the scripted miner uses."""

ASKED: dict[str, Any] = CHAT | {"max_tokens": 4}
MANY = 50


def store(tmp_path: Path) -> KeyStore:
    return KeyStore(open_key_database(keys_url(None, tmp_path / "state")))


def make_key(
    tmp_path: Path, limits: Limits = UNLIMITED, expires_at_ms: int | None = None
) -> tuple[str, ApiKey]:
    secret = new_secret()
    return secret, store(tmp_path).create(secret, "alice", 1_700_000_000_000, limits, expires_at_ms)


def client(gateway: RunningGateway, key: str, **headers: str) -> AsyncOpenAI:
    return AsyncOpenAI(
        base_url=f"{gateway.url}/v1", api_key=key, max_retries=0, default_headers=headers or None
    )


async def ask(gateway: RunningGateway, key: str, **headers: str) -> httpx.Headers:
    """The headers of a served answer."""
    async with client(gateway, key, **headers) as asking:
        raw = await asking.chat.completions.with_raw_response.create(**ASKED)
        return httpx.Headers(raw.headers)


def assert_unserved(gateway: RunningGateway) -> None:
    assert gateway.records() == []
    assert all(miner.bodies == [] for miner in gateway.miners)


async def unauthorized(gateway: RunningGateway, key: str) -> str:
    with pytest.raises(openai.AuthenticationError) as caught:
        await ask(gateway, key)
    assert caught.value.status_code == 401
    assert caught.value.response.headers["www-authenticate"] == "Bearer"
    assert_unserved(gateway)
    assert key == "none" or key not in str(caught.value)
    return f"{caught.value.code}: {caught.value.body}"


async def limited(gateway: RunningGateway, key: str, **headers: str) -> openai.RateLimitError:
    with pytest.raises(openai.RateLimitError) as caught:
        await ask(gateway, key, **headers)
    assert int(caught.value.response.headers["retry-after"]) >= 1
    return caught.value


@pytest.mark.parametrize("anonymous", [True, False])
async def test_a_key_is_served(tmp_path: Path, anonymous: bool) -> None:
    secret, _ = make_key(tmp_path)
    async with running_gateway(tmp_path, anonymous=anonymous) as gateway:
        await ask(gateway, secret)
        assert len(gateway.records()) == 1


@pytest.mark.parametrize("anonymous", [True, False])
async def test_a_wrong_key_is_not_served_even_where_none_is_needed(tmp_path: Path, anonymous: bool) -> None:
    make_key(tmp_path)
    async with running_gateway(tmp_path, anonymous=anonymous) as gateway:
        for wrong in (new_secret(), "sk-of-another-service"):
            assert (await unauthorized(gateway, wrong)).startswith("invalid_api_key")


async def test_revoked_and_expired_keys_say_so(tmp_path: Path) -> None:
    revoked, key = make_key(tmp_path)
    expired, _ = make_key(tmp_path, expires_at_ms=1)
    store(tmp_path).revoke(key.id, 5)
    async with running_gateway(tmp_path) as gateway:
        assert "is revoked" in await unauthorized(gateway, revoked)
        assert "is expired" in await unauthorized(gateway, expired)


async def test_keys_are_created_and_revoked_while_the_gateway_runs(tmp_path: Path) -> None:
    async with running_gateway(tmp_path, anonymous=False) as gateway:
        secret, key = make_key(tmp_path)
        await unauthorized(gateway, secret)
        await gateway.parts.admission.refresh()
        await ask(gateway, secret)
        store(tmp_path).revoke(key.id, 5)
        await gateway.parts.admission.refresh()
        with pytest.raises(openai.AuthenticationError, match="is revoked"):
            await ask(gateway, secret)
        assert len(gateway.records()) == 1


async def test_without_a_key_nobody_is_served_where_one_is_required(tmp_path: Path) -> None:
    async with running_gateway(tmp_path, anonymous=False) as gateway:
        assert (await unauthorized(gateway, "none")).startswith("missing_api_key")
        async with httpx.AsyncClient(base_url=gateway.url, trust_env=False, timeout=HANG_S) as http:
            answer = await http.post(CHAT_PATH, json=ASKED)
            assert (answer.status_code, answer.json()["error"]["code"]) == (401, "missing_api_key")
            assert set(answer.json()["error"]) == {"message", "type", "param", "code"}
            for open_path in ("/health", "/v1/models"):
                assert (await http.get(open_path)).status_code == 200
        assert_unserved(gateway)


@pytest.mark.parametrize("name", ["x-api-key", "api-key"])
async def test_a_key_in_the_header_of_another_api_is_taken(tmp_path: Path, name: str) -> None:
    secret, _ = make_key(tmp_path)
    async with (
        running_gateway(tmp_path, anonymous=False) as gateway,
        httpx.AsyncClient(base_url=gateway.url, trust_env=False, timeout=HANG_S) as http,
    ):
        assert (await http.post(CHAT_PATH, json=ASKED, headers={name: secret})).status_code == 200
        assert (await http.post(CHAT_PATH, json=ASKED, headers={name: new_secret()})).status_code == 401


async def test_requests_a_minute_are_limited_and_told(tmp_path: Path) -> None:
    secret, _ = make_key(tmp_path, Limits(requests_per_minute=3))
    async with running_gateway(tmp_path) as gateway:
        remaining = [(await ask(gateway, secret))["x-ratelimit-remaining-requests"] for _ in range(3)]
        assert remaining == ["2", "1", "0"]
        error = await limited(gateway, secret)
        assert (error.code, error.type) == ("rate_limit_exceeded", "requests")
        headers = error.response.headers
        assert (headers["x-ratelimit-limit-requests"], headers["retry-after"]) == ("3", "20")
        assert headers["x-ratelimit-reset-requests"] == "60.000s"
        gateway.clock.advance(19)
        await limited(gateway, secret)
        gateway.clock.advance(1)
        await ask(gateway, secret)
        assert len(gateway.records()) == 4


async def test_streams_are_told_their_limits_too(tmp_path: Path) -> None:
    secret, _ = make_key(tmp_path, Limits(requests_per_minute=3, tokens_per_minute=1000))
    async with running_gateway(tmp_path) as gateway:
        create = client(gateway, secret).chat.completions.with_raw_response.create
        raw = await create(**ASKED, stream=True)
        assert raw.headers["x-ratelimit-remaining-requests"] == "2"
        assert raw.headers["x-ratelimit-limit-tokens"] == "1000"
        assert [event async for event in raw.parse()]


async def test_fifty_requests_at_once_do_not_exceed_the_limit(tmp_path: Path) -> None:
    secret, _ = make_key(tmp_path, Limits(requests_per_minute=7))
    async with running_gateway(tmp_path) as gateway:
        ended = await asyncio.gather(*(ask(gateway, secret) for _ in range(MANY)), return_exceptions=True)
        assert sum(isinstance(one, openai.RateLimitError) for one in ended) == MANY - 7
        assert len(gateway.records()) == 7


async def test_tokens_a_minute_are_held_before_and_settled_after_an_answer(tmp_path: Path) -> None:
    secret, _ = make_key(tmp_path, Limits(tokens_per_minute=60))
    async with running_gateway(tmp_path) as gateway:
        remaining = (await ask(gateway, secret))["x-ratelimit-remaining-tokens"]
        assert int(remaining) < 60 - TOKENS, "more is held while the request runs than it uses"
        await gateway.idle()
        error = await use_up(gateway, secret)
        assert (error.code, error.type) == ("rate_limit_exceeded", "tokens")
        assert 1 < len(gateway.records()) <= 60 // TOKENS
        gateway.clock.advance(60)
        await ask(gateway, secret)


async def test_fifty_requests_at_once_do_not_exceed_the_quota(tmp_path: Path) -> None:
    secret, key = make_key(tmp_path, Limits(tokens_per_day=150))
    async with running_gateway(tmp_path) as gateway:
        ended = await asyncio.gather(*(ask(gateway, secret) for _ in range(MANY)), return_exceptions=True)
        refused = [one for one in ended if isinstance(one, openai.RateLimitError)]
        assert {one.code for one in refused} == {"insufficient_quota"}
        assert 0 < (MANY - len(refused)) * TOKENS <= 150
        await gateway.idle()
        assert gateway.parts.admission.book.tokens_today(key.id) == (MANY - len(refused)) * TOKENS


async def use_up(gateway: RunningGateway, secret: str) -> openai.RateLimitError:
    while True:
        try:
            await ask(gateway, secret)
        except openai.RateLimitError as error:
            return error
        await gateway.idle()


async def test_a_quota_holds_over_a_restart_and_until_midnight(tmp_path: Path) -> None:
    secret, _ = make_key(tmp_path, Limits(tokens_per_day=100))
    async with running_gateway(tmp_path) as gateway:
        error = await use_up(gateway, secret)
        assert (error.code, error.type) == ("insufficient_quota", "insufficient_quota")
        served = len(gateway.records())
        assert 0 < served * TOKENS <= 100
    async with running_gateway(tmp_path) as gateway:
        error = await limited(gateway, secret)
        assert error.code == "insufficient_quota"
        gateway.clock.advance(int(error.response.headers["retry-after"]))
        await ask(gateway, secret)


async def test_use_is_stored_by_day_and_model(tmp_path: Path) -> None:
    secret, key = make_key(tmp_path)
    async with running_gateway(tmp_path) as gateway:
        await ask(gateway, secret)
        answer = await client(gateway, secret).chat.completions.create(**ASKED, n=2)
        assert len(answer.choices) == 2
        await ask(gateway, "none")
    stored = UsageStore(open_key_database(keys_url(None, tmp_path / "state"))).since("2000-01-01")
    used = {(one.client, one.model): counts for one, counts in stored.items()}
    assert used[key.id, MODEL] == Used(2, 2 * len(PROMPT_IDS), 3 * len(WORD_IDS)), "a prompt counts once"
    assert used["anonymous", MODEL] == Used(1, len(PROMPT_IDS), len(WORD_IDS))


async def broken(request: web.Request, script: Script) -> web.StreamResponse:
    return web.json_response({"error": {"message": "broken"}}, status=500)


async def test_what_miners_broke_off_costs_no_tokens(tmp_path: Path) -> None:
    secret, key = make_key(tmp_path, Limits(tokens_per_minute=1000, tokens_per_day=1000))
    async with running_gateway(tmp_path, broken) as gateway:
        with pytest.raises(openai.InternalServerError) as caught:
            await ask(gateway, secret)
        assert caught.value.response.headers["x-ratelimit-limit-tokens"] == "1000"
        await gateway.idle()
        assert gateway.parts.admission.book.tokens_today(key.id) == 0


async def test_addresses_without_a_key_are_limited_each_for_itself(tmp_path: Path) -> None:
    async with running_gateway(tmp_path, anonymous_requests_per_minute=1) as gateway:
        for address in ("192.0.2.1", "192.0.2.2", "2001:db8:0:1::1", "2001:db8:0:2::1"):
            await ask(gateway, "none", **{"x-forwarded-for": address})
        for address in ("192.0.2.1", "2001:db8:0:1:ffff::9"):
            await limited(gateway, "none", **{"x-forwarded-for": address})
        secret, _ = make_key(tmp_path)
        await gateway.parts.admission.refresh()
        for _ in range(3):
            await ask(gateway, secret, **{"x-forwarded-for": "192.0.2.1"})


async def test_who_is_no_proxy_can_not_say_that_it_is_another_address(tmp_path: Path) -> None:
    async with running_gateway(tmp_path, anonymous_requests_per_minute=1, trusted_proxies=()) as gateway:
        await ask(gateway, "none", **{"x-forwarded-for": "192.0.2.1"})
        await limited(gateway, "none", **{"x-forwarded-for": "192.0.2.2"})


async def test_a_trusted_caller_is_never_limited_and_needs_no_key(tmp_path: Path) -> None:
    limits: dict[str, Any] = {"anonymous_requests_per_minute": 1, "anonymous": False}
    async with (
        running_gateway(tmp_path, **limits) as gateway,
        httpx.AsyncClient(base_url=gateway.url, trust_env=False, timeout=HANG_S) as http,
    ):
        signer, data = keypair("gateway"), json.dumps(ASKED).encode()
        for _ in range(5):
            headers = direct_request(signer, CHAT_PATH, data, signer.ss58_address, gateway.miners[0].hotkey)
            answer = await http.post(CHAT_PATH, content=data, headers=headers)
            assert answer.status_code == 200
            assert not any(name.startswith("x-ratelimit") for name in answer.headers)


async def test_the_miner_sees_nothing_of_who_asked(tmp_path: Path) -> None:
    seen: list[tuple[list[tuple[str, str]], bytes]] = []

    async def note(request: web.Request, script: Script) -> web.StreamResponse:
        shown = [(name, value) for name, value in request.headers.items() if not name.startswith("X-Btauth")]
        seen.append((shown, await request.read()))
        return await honest(request, script)

    secret, key = make_key(tmp_path, Limits(1000, 100_000, 1_000_000))
    async with running_gateway(tmp_path, note) as gateway:
        create = client(gateway, secret).chat.completions.create
        await create(**ASKED, seed=1)
        await client(gateway, "none").chat.completions.create(**ASKED, seed=1)
        with_key, without = gateway.records()
    assert [name for name, _ in seen[0][0]] == [name for name, _ in seen[1][0]]
    assert seen[0][1].replace(with_key.request_id.encode(), without.request_id.encode()) == seen[1][1]
    told = repr(seen)
    assert not any(one in told for one in (secret, key.id, str(with_key.client), str(without.client)))


async def test_records_name_clients_by_pseudonyms(tmp_path: Path) -> None:
    first, second = make_key(tmp_path)[0], make_key(tmp_path)[0]
    async with running_gateway(tmp_path) as gateway:
        for key, address in [
            (first, "192.0.2.1"),
            (first, "192.0.2.2"),
            (second, "192.0.2.1"),
            ("none", "192.0.2.1"),
            ("none", "192.0.2.1"),
            ("none", "192.0.2.2"),
        ]:
            await ask(gateway, key, **{"x-forwarded-for": address})
        names = [record.client for record in gateway.records()]
    assert [names.index(name) for name in names] == [0, 0, 2, 3, 3, 5], "an address says nothing of a key"
    written = b"".join(file.read_bytes() for file in (tmp_path / "state" / "records").iterdir())
    assert b"192.0.2." not in written


async def test_a_conversation_of_a_trusted_caller_has_one_name_of_many(tmp_path: Path) -> None:
    signer = keypair("gateway")
    async with (
        running_gateway(tmp_path) as gateway,
        httpx.AsyncClient(base_url=gateway.url, trust_env=False, timeout=HANG_S) as http,
    ):
        for number in range(40):
            opening = {"role": "user", "content": f"Question {number // 2}"}
            more = [{"role": "assistant", "content": "Yes"}, {"role": "user", "content": "Why?"}]
            messages = [opening, *more] if number % 2 else [opening]
            data = json.dumps(ASKED | {"messages": messages}).encode()
            hotkey = gateway.miners[0].hotkey
            headers = direct_request(signer, CHAT_PATH, data, signer.ss58_address, hotkey)
            assert (await http.post(CHAT_PATH, content=data, headers=headers)).status_code == 200
        await ask(gateway, "none")
        *names, organic = [record.client for record in gateway.records()]
    assert names[::2] == names[1::2]
    assert len(set(names)) >= 4, "twenty conversations on 64 names: fewer in one draw of 10**20"
    assert organic not in names


async def test_no_secret_is_logged(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    secret, wrong = make_key(tmp_path, Limits(requests_per_minute=2))[0], new_secret()
    async with running_gateway(tmp_path, broken, honest) as gateway:
        await ask(gateway, secret)
        with pytest.raises(openai.AuthenticationError):
            await ask(gateway, wrong)
        with pytest.raises(openai.NotFoundError):
            await client(gateway, secret).chat.completions.create(**{**ASKED, "model": "x"})
        await limited(gateway, secret)
        await gateway.parts.admission.refresh()
    logged = "\n".join(one for one in caplog.text.splitlines() if "httpx" not in one and "openai" not in one)
    assert not any(one[8:] in logged for one in (secret, wrong))


async def test_a_limit_a_day_holds_across_gateways_that_share_a_database(
    tmp_path: Path, database_url: str
) -> None:
    keys = KeyStore(open_key_database(database_url))
    secret = new_secret()
    keys.create(secret, "alice", 1_700_000_000_000, Limits(tokens_per_day=10 * TOKENS))
    async with (
        running_gateway(tmp_path / "one", keys_database=database_url) as one,
        running_gateway(tmp_path / "other", keys_database=database_url) as other,
    ):
        await use_up(one, secret)
        await one.parts.admission.refresh()
        await other.parts.admission.refresh()
        error = await use_up(other, secret)
        assert error.code == "insufficient_quota"
        served = [len(gateway.records()) for gateway in (one, other)]
        assert 0 < sum(served) <= 10
        assert served[1] <= 1, "what the first left over was too little for its next request, too"
