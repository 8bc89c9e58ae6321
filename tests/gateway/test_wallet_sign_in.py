"""Signing in with a hotkey: who signs rightly gets a key, and nobody else does, whatever they send."""

import asyncio
import json
import os
from pathlib import Path
from typing import Any

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from openai import AsyncOpenAI

from gateway.config import load_config
from gateway.sign_in import SignInFailed, main, sign_in
from gateway.sign_in_challenge import CHALLENGE_SECONDS, Challenges, parse_challenge
from gateway.wallet_sign_in import ATTEMPTS_PER_MINUTE, MAX_BODY_BYTES
from shared.errors import ConfigError, MalformedMessage
from shared.signing import Signer
from tests.gateway.running_gateway import CHAT, HANG_S, RunningGateway, keypair, running_gateway
from tests.gateway.scripted_miner import honest
from tests.gateway.test_process import make_wallet
from tests.validator.auditor_examples import ExampleChain, neuron

HOLDER, STRANGER = keypair("holder"), keypair("stranger")
ON: dict[str, Any] = {"wallet_sign_in": True, "anonymous": False}


def subnet() -> ExampleChain:
    return ExampleChain([neuron(HOLDER, 7, None)])


async def post(gateway: RunningGateway, path: str, body: Any, **more: Any) -> httpx.Response:
    async with httpx.AsyncClient(timeout=HANG_S, trust_env=False) as client:
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        return await client.post(f"{gateway.url}{path}", content=content, **more)


async def challenge(gateway: RunningGateway, signer: Any = HOLDER) -> str:
    answer = await post(gateway, "/v1/keys/challenge", {"hotkey": signer.ss58_address})
    assert answer.status_code == 200, answer.text
    text: str = answer.json()["message"]
    return text


def signed(text: str, signer: Any = HOLDER, **changes: Any) -> dict[str, Any]:
    signature = "0x" + bytes(signer.sign(text.encode())).hex()
    return {"hotkey": signer.ss58_address, "message": text, "signature": signature} | changes


async def key(gateway: RunningGateway, signer: Any = HOLDER) -> dict[str, Any]:
    answer = await post(gateway, "/v1/keys", signed(await challenge(gateway, signer), signer))
    assert answer.status_code == 201, answer.text
    made: dict[str, Any] = answer.json()
    return made


async def refusal(gateway: RunningGateway, body: Any, status: int) -> str:
    answer = await post(gateway, "/v1/keys", body)
    assert answer.status_code == status, answer.text
    error = answer.json()["error"]
    assert set(error) == {"message", "type", "param", "code"}
    assert gateway.parts.admission.database is not None
    code: str = error["code"] or error["param"]
    return code


async def chat(gateway: RunningGateway, secret: str) -> int:
    async with AsyncOpenAI(base_url=f"{gateway.url}/v1", api_key=secret, max_retries=0) as client:
        raw = await client.with_options(timeout=HANG_S).chat.completions.with_raw_response.create(**CHAT)
        status: int = raw.status_code
        return status


async def test_a_registered_hotkey_gets_a_key_that_works_at_once(tmp_path: Path) -> None:
    async with running_gateway(tmp_path, chain=subnet(), **ON) as gateway:
        made = await key(gateway)
        assert await chat(gateway, made["key"]) == 200
        (record,) = gateway.records()
    assert made["name"] == HOLDER.ss58_address
    assert made["limits"] == {
        "requests_per_minute": 600,
        "tokens_per_minute": 1_000_000,
        "tokens_per_day": None,
    }
    assert made["expires_at_ms"] == gateway.clock.unix_ms() + 30 * 86_400_000
    assert record.outcome == "answered"
    stored = b"".join(file.read_bytes() for file in (tmp_path / "state").glob("keys.sqlite*"))
    assert made["key"][12:].encode() not in stored, "only its digest is stored"


async def test_the_challenge_names_gateway_hotkey_and_end(tmp_path: Path) -> None:
    async with running_gateway(tmp_path, chain=subnet(), **ON) as gateway:
        answer = (await post(gateway, "/v1/keys/challenge", {"hotkey": HOLDER.ss58_address})).json()
    given_ = parse_challenge(answer["message"])
    assert (given_.gateway, given_.hotkey) == (keypair("gateway").ss58_address, HOLDER.ss58_address)
    ends_ms = gateway.clock.unix_ms() + CHALLENGE_SECONDS * 1000
    assert given_.expires_at_ms == answer["expires_at_ms"] == ends_ms


async def test_a_signature_by_another_key_gets_nothing(tmp_path: Path) -> None:
    async with running_gateway(tmp_path, chain=subnet(), **ON) as gateway:
        text = await challenge(gateway)
        forged = signed(text, STRANGER, hotkey=HOLDER.ss58_address)
        assert await refusal(gateway, forged, 401) == "invalid_signature"
        for signature in ("0x" + "00" * 64, "0x" + "ff" * 64):
            assert await refusal(gateway, signed(text, signature=signature), 401) == "invalid_signature"
        other = "0x" + bytes(HOLDER.sign(text.encode() + b" ")).hex()
        assert await refusal(gateway, signed(text, signature=other), 401) == "invalid_signature"
        right = await post(gateway, "/v1/keys", signed(text))
        assert right.status_code == 201, "a wrong signature does not use up the challenge"


async def test_a_challenge_gives_one_key(tmp_path: Path) -> None:
    async with running_gateway(tmp_path, chain=subnet(), **ON) as gateway:
        text = await challenge(gateway)
        assert (await post(gateway, "/v1/keys", signed(text))).status_code == 201
        for _ in range(2):
            assert await refusal(gateway, signed(text), 401) == "challenge_used"


async def test_of_many_uses_of_a_challenge_at_once_one_gives_a_key(tmp_path: Path) -> None:
    async with running_gateway(tmp_path, chain=subnet(), **ON) as gateway:
        body = signed(await challenge(gateway))
        answers = await asyncio.gather(*(post(gateway, "/v1/keys", body) for _ in range(8)))
    assert sorted(answer.status_code for answer in answers) == [201] + [401] * 7


async def test_a_challenge_is_used_even_after_a_restart(tmp_path: Path) -> None:
    async with running_gateway(tmp_path, chain=subnet(), **ON) as gateway:
        used, unused = await challenge(gateway), await challenge(gateway)
        assert (await post(gateway, "/v1/keys", signed(used))).status_code == 201
    async with running_gateway(tmp_path, chain=subnet(), **ON) as gateway:
        assert await refusal(gateway, signed(used), 401) == "challenge_used"
        assert (await post(gateway, "/v1/keys", signed(unused))).status_code == 201


async def test_a_challenge_expires(tmp_path: Path) -> None:
    async with running_gateway(tmp_path, chain=subnet(), **ON) as gateway:
        text = await challenge(gateway)
        gateway.clock.advance(CHALLENGE_SECONDS - 1)
        late = await challenge(gateway)
        gateway.clock.advance(1)
        assert await refusal(gateway, signed(text), 401) == "challenge_expired"
        assert (await post(gateway, "/v1/keys", signed(late))).status_code == 201


async def test_its_end_can_not_be_put_off(tmp_path: Path) -> None:
    async with running_gateway(tmp_path, chain=subnet(), **ON) as gateway:
        text = await challenge(gateway)
        ends = str(parse_challenge(text).expires_at_ms)
        longer = text.replace(ends, str(int(ends) + 1_000_000))
        assert await refusal(gateway, signed(longer), 401) == "invalid_challenge"


@pytest.mark.parametrize(
    "text", ["", "hello", "constantinople/sign-in/1", "constantinople/receipt/1\x00{}", "x" * 1024]
)
async def test_another_text_gets_nothing(tmp_path: Path, text: str) -> None:
    async with running_gateway(tmp_path, chain=subnet(), **ON) as gateway:
        assert await refusal(gateway, signed(text), 401) == "invalid_challenge"


async def test_a_challenge_of_somebody_else_gets_nothing(tmp_path: Path) -> None:
    async with running_gateway(tmp_path, chain=subnet(), **ON) as gateway:
        text = await challenge(gateway, STRANGER)
        assert await refusal(gateway, signed(text), 401) == "invalid_challenge"


async def test_a_challenge_of_another_gateway_gets_nothing(tmp_path: Path) -> None:
    async with running_gateway(tmp_path, chain=subnet(), **ON) as gateway:
        now_ms, secret = gateway.clock.unix_ms(), os.urandom(32)
        for address in (keypair("gateway").ss58_address, keypair("elsewhere").ss58_address):
            foreign = Challenges(secret, address).new(HOLDER.ss58_address, now_ms).text
            assert await refusal(gateway, signed(foreign), 401) == "invalid_challenge"


async def test_a_hotkey_that_is_not_on_the_subnet_gets_nothing_unless_any_may(tmp_path: Path) -> None:
    async with running_gateway(tmp_path, chain=subnet(), **ON) as gateway:
        body = signed(await challenge(gateway, STRANGER), STRANGER)
        assert await refusal(gateway, body, 403) == "hotkey_not_registered"
    async with running_gateway(tmp_path, chain=subnet(), wallet_any_hotkey=True, **ON) as gateway:
        assert (await key(gateway, STRANGER))["name"] == STRANGER.ss58_address


async def test_a_new_registration_is_seen_within_a_minute(tmp_path: Path) -> None:
    chain = subnet()
    async with running_gateway(tmp_path, chain=chain, **ON) as gateway:
        body = signed(await challenge(gateway, STRANGER), STRANGER)
        await refusal(gateway, body, 403)
        chain.registered.append(neuron(STRANGER, 8, None))
        gateway.clock.advance(60)
        assert (await post(gateway, "/v1/keys", body)).status_code == 201


async def test_without_the_chain_nobody_signs_in_and_keys_go_on(tmp_path: Path) -> None:
    chain = subnet()
    async with running_gateway(tmp_path, chain=chain, **ON) as gateway:
        made = await key(gateway)
        chain.down = True
        gateway.clock.advance(61)
        body = signed(await challenge(gateway))
        assert await refusal(gateway, body, 503) == "sign_in_unavailable"
        assert await chat(gateway, made["key"]) == 200
        chain.down = False
        assert (await post(gateway, "/v1/keys", body)).status_code == 201, "it is still good"


async def test_signing_in_again_gives_another_key_and_ends_the_oldest(tmp_path: Path) -> None:
    async with running_gateway(tmp_path, chain=subnet(), wallet_keys=2, **ON) as gateway:
        made = []
        for _ in range(3):
            made.append(await key(gateway))
            gateway.clock.advance(1)
        other = await post(gateway, "/v1/chat/completions", CHAT, headers=bearer(made[0]))
        assert (other.status_code, other.json()["error"]["code"]) == (401, "invalid_api_key")
        assert [await chat(gateway, one["key"]) for one in made[1:]] == [200, 200]


def bearer(made: dict[str, Any]) -> dict[str, str]:
    return {"authorization": f"Bearer {made['key']}"}


async def test_all_keys_of_a_hotkey_share_its_limits(tmp_path: Path) -> None:
    async with running_gateway(
        tmp_path, honest, chain=subnet(), wallet_requests_per_minute=3, wallet_keys=1, **ON
    ) as gateway:
        statuses = []
        for _ in range(4):
            made = await key(gateway)
            answer = await post(gateway, "/v1/chat/completions", CHAT, headers=bearer(made))
            statuses.append(answer.status_code)
        names = {record.client for record in gateway.records()}
    assert statuses == [200, 200, 200, 429], "signing in again does not begin anew"
    assert len(names) == 1


async def test_sign_in_is_off_unless_it_is_asked_for(tmp_path: Path) -> None:
    async with running_gateway(tmp_path, chain=subnet()) as gateway:
        for path in ("/v1/keys/challenge", "/v1/keys"):
            answer = await post(gateway, path, {"hotkey": HOLDER.ss58_address})
            assert (answer.status_code, answer.json()["error"]["code"]) == (404, "wallet_sign_in_off")
    assert not load_config(["--discover"], {}, tmp_path / "none").wallet_sign_in


@pytest.mark.parametrize(
    "body",
    [
        b"", b"null", b"[]", b"{", b"{}", b'{"hotkey": 5}', b'{"hotkey": "5"}', b"\xff\xfe", b"[" * 5000,
        b'{"hotkey": "not an address at all, though long enough!!"}', b'{"hotkey": null}',
        json.dumps({"hotkey": HOLDER.ss58_address, "more": 1}).encode(),
        json.dumps({"hotkey": HOLDER.ss58_address[:-1] + "1"}).encode(),
        json.dumps({"hotkey": "5" * 48}).encode(),
    ],
)  # fmt: skip
async def test_nonsense_is_a_400_for_both_routes(tmp_path: Path, body: bytes) -> None:
    async with running_gateway(tmp_path, chain=subnet(), **ON) as gateway:
        for path in ("/v1/keys/challenge", "/v1/keys"):
            answer = await post(gateway, path, body)
            assert answer.status_code == 400, answer.text
            assert answer.json()["error"]["type"] == "invalid_request_error"


@pytest.mark.parametrize(
    "changes",
    [{"signature": ""}, {"signature": "0x12"}, {"signature": 7}, {"message": None}, {"message": "x" * 2000},
     {"hotkey": "5" * 48}, {"extra": 1}],
)  # fmt: skip
async def test_a_malformed_sign_in_is_refused_by_the_name_of_its_field(
    tmp_path: Path, changes: dict[str, Any]
) -> None:
    async with running_gateway(tmp_path, chain=subnet(), **ON) as gateway:
        answer = await post(gateway, "/v1/keys", signed(await challenge(gateway)) | changes)
    assert answer.status_code in (400, 401)
    assert "Traceback" not in answer.text
    if answer.status_code == 400:
        assert answer.json()["error"]["param"] == next(iter(changes))


async def test_a_large_body_is_413(tmp_path: Path) -> None:
    async with running_gateway(tmp_path, chain=subnet(), **ON) as gateway:
        answer = await post(gateway, "/v1/keys", b" " * (MAX_BODY_BYTES + 1))
    assert answer.status_code == 413


async def test_an_address_that_tries_too_often_is_told_to_wait(tmp_path: Path) -> None:
    body = {"hotkey": HOLDER.ss58_address}
    async with running_gateway(tmp_path, chain=subnet(), **ON) as gateway:
        for _ in range(ATTEMPTS_PER_MINUTE):
            await challenge(gateway)
        refused = await post(gateway, "/v1/keys/challenge", body)
        assert (refused.status_code, refused.json()["error"]["code"]) == (429, "rate_limit_exceeded")
        elsewhere = await post(
            gateway, "/v1/keys/challenge", body, headers={"x-forwarded-for": "203.0.113.9"}
        )
        assert elsewhere.status_code == 200
        gateway.clock.advance(float(refused.headers["retry-after"]))
        await challenge(gateway)


@given(text=st.text(max_size=300))
def test_no_other_text_is_a_challenge(text: str) -> None:
    with pytest.raises(MalformedMessage):
        parse_challenge(text)


@given(place=st.integers(0, 600), character=st.characters(codec="ascii"))
def test_no_character_of_a_challenge_can_be_changed(place: int, character: str) -> None:
    own = Challenges(b"s" * 32, keypair("gateway").ss58_address, lambda size: "ab" * size)
    text = own.new(HOLDER.ss58_address, 1_700_000_000_000).text
    place %= len(text)
    changed = text[:place] + character + text[place + 1 :]
    try:
        accepted = own.is_own(parse_challenge(changed))
    except MalformedMessage:
        accepted = False
    assert accepted == (changed == text)


# --- The command


async def test_the_command_prints_a_key_that_works(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    wallet = make_wallet(tmp_path / "wallets", "mine")
    chain = ExampleChain([neuron(wallet.hotkey, 7, None)])
    async with running_gateway(tmp_path, chain=chain, **ON) as gateway:
        flags = ["--gateway", gateway.url, "--wallet", "mine", "--wallet-path", str(tmp_path / "wallets")]
        capsys.readouterr()
        assert await asyncio.to_thread(main, flags) == 0
        secret = capsys.readouterr().out.strip()
        assert await chat(gateway, secret) == 200
        chain.registered.clear()
        gateway.clock.advance(61)
        with pytest.raises(ConfigError, match="is not registered"):
            await asyncio.to_thread(main, flags)


class Gateways:
    """A gateway that says what a test tells it to."""

    def __init__(self, *answers: httpx.Response) -> None:
        self.answers, self.asked = list(answers), list[httpx.Request]()

    def client(self) -> httpx.Client:
        def answer(request: httpx.Request) -> httpx.Response:
            self.asked.append(request)
            return self.answers.pop(0)

        return httpx.Client(base_url="http://gateway", transport=httpx.MockTransport(answer))


def given_by(gateway: Signer, hotkey: Signer) -> str:
    return Challenges(b"s" * 32, gateway.ss58_address).new(hotkey.ss58_address, 1).text


@pytest.mark.parametrize(
    "text",
    [
        "Transfer everything to 5Thief",
        given_by(keypair("gateway"), STRANGER),
        given_by(keypair("elsewhere"), HOLDER),
        given_by(keypair("gateway"), HOLDER) + "\nand more",
    ],
)
def test_the_command_signs_nothing_but_a_challenge_of_that_gateway_for_its_hotkey(text: str) -> None:
    hostile = Gateways(httpx.Response(200, json={"message": text}))
    with pytest.raises(MalformedMessage):
        sign_in(hostile.client(), HOLDER, keypair("gateway").ss58_address)
    assert len(hostile.asked) == 1, "no signature left"


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (httpx.Response(200, content=b"<html>"), "can't be asked"),
        (httpx.Response(200, json=[]), "no JSON object"),
        (httpx.Response(200, json={}), "has no message"),
        (httpx.Response(404, json={"error": {"message": "it is off"}}), "HTTP 404: it is off"),
        (httpx.Response(500, json={"error": "x"}), "HTTP 500: no reason is given"),
    ],
)
def test_the_command_says_why_there_is_no_key(answer: httpx.Response, words: str) -> None:
    with pytest.raises(SignInFailed, match=words):
        sign_in(Gateways(answer).client(), HOLDER, None)
