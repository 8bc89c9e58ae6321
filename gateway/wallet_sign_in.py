"""POST /v1/keys/challenge and POST /v1/keys: an API key for whoever signs a challenge with a hotkey."""

import asyncio
import logging
from dataclasses import dataclass
from typing import Any, TypeVar

from bittensor.sp_core import Keypair, verify
from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse
from pydantic import Field, ValidationError
from sqlalchemy.exc import SQLAlchemyError
from starlette.types import Scope

from gateway.address_limits import AddressLimits
from gateway.admission import Admission
from gateway.client_connection import read_body
from gateway.clock import Clock
from gateway.config import GatewayConfig
from gateway.errors import ApiError, ClientLeft, invalid_request
from gateway.key_store import Limits, new_secret
from gateway.sign_in_challenge import MAX_TEXT_CHARS, Challenge, Challenges, parse_challenge
from gateway.sign_in_refusals import (
    challenge_expired,
    challenge_refused,
    challenge_used,
    not_registered,
    sign_in_off,
    sign_in_unavailable,
    wrong_signature,
)
from gateway.subnet_hotkeys import SubnetHotkeys
from gateway.wallet_keys import WalletKeys
from shared.errors import ChainError, ConfigError, MalformedMessage
from shared.identifiers import Message, SignatureHex, Ss58

log = logging.getLogger(__name__)

MAX_BODY_BYTES = 8192

ATTEMPTS_PER_MINUTE = 20
"""Of one address, challenges and sign-ins together."""

DAY_MS = 86_400_000


class ChallengeRequest(Message):
    """Body of POST /v1/keys/challenge."""

    hotkey: Ss58


class SignInRequest(Message):
    """Body of POST /v1/keys: the challenge's text, and the hotkey's signature over it."""

    hotkey: Ss58
    message: str = Field(max_length=MAX_TEXT_CHARS)
    signature: SignatureHex


@dataclass(frozen=True)
class SignInTerms:
    """Who gets keys, and what they may take.

    Attributes:
        any_hotkey: whether hotkeys get keys that are not on the subnet.
        most_keys: valid keys that one hotkey may have; together they have the limits of one.
        key_days: days until a key expires; 0: never.
    """

    limits: Limits
    any_hotkey: bool
    most_keys: int
    key_days: float


class WalletSignIn:
    """Gives challenges, and keys for those that are signed."""

    def __init__(
        self,
        challenges: Challenges,
        keys: WalletKeys,
        hotkeys: SubnetHotkeys,
        admission: Admission,
        terms: SignInTerms,
        clock: Clock,
    ) -> None:
        self._challenges, self._keys, self._hotkeys = challenges, keys, hotkeys
        self._admission, self._terms, self._clock = admission, terms, clock
        self._limits = AddressLimits(ATTEMPTS_PER_MINUTE, clock)

    def challenge(self, scope: Scope, body: bytes) -> dict[str, Any]:
        """A challenge for the hotkey that the body names.

        Raises:
            ApiError: 400; it names none. 429; the address asks too often.
        """
        self._limits.take(scope)
        hotkey = _parse(ChallengeRequest, body).hotkey
        _check_address(hotkey)
        given = self._challenges.new(hotkey, self._clock.unix_ms())
        return {"object": "key.challenge", "message": given.text, "expires_at_ms": given.expires_at_ms}

    async def sign_in(self, scope: Scope, body: bytes) -> dict[str, Any]:
        """A key for a signed challenge.

        Raises:
            ApiError: 400; the body is malformed. 401; the challenge or the signature is not right. 403; the
                hotkey is not registered. 429; the address asks too often. 503; chain or database fail.
        """
        self._limits.take(scope)
        sent, now_ms = _parse(SignInRequest, body), self._clock.unix_ms()
        challenge = self._checked(sent, now_ms)
        await self._check_registered(challenge.hotkey)
        secret, terms = new_secret(), self._terms
        expires_at_ms = now_ms + round(terms.key_days * DAY_MS) if terms.key_days else None
        try:
            key = await asyncio.to_thread(
                self._keys.issue, secret, challenge, now_ms, terms.limits, expires_at_ms, terms.most_keys
            )
        except SQLAlchemyError as error:
            log.error("%s signed in, but its key can't be stored: %s", challenge.hotkey, error)
            raise sign_in_unavailable("its keys can't be stored") from None
        if key is None:
            raise challenge_used()
        await self._admission.reload_keys()
        log.info("%s signed in: %s", key.name, key.id)
        return {
            "object": "key",
            "id": key.id,
            "key": secret,
            "name": key.name,
            "expires_at_ms": key.expires_at_ms,
            "limits": vars(key.limits),
        }

    def _checked(self, sent: SignInRequest, now_ms: int) -> Challenge:
        try:
            challenge = parse_challenge(sent.message)
        except MalformedMessage as error:
            raise challenge_refused(str(error)) from None
        if not self._challenges.is_own(challenge):
            raise challenge_refused("this gateway did not give it")
        if challenge.hotkey != sent.hotkey:
            raise challenge_refused(f"it was given to {challenge.hotkey}")
        if now_ms >= challenge.expires_at_ms:
            raise challenge_expired()
        if not _is_signed(sent):
            raise wrong_signature(sent.hotkey)
        return challenge

    async def _check_registered(self, hotkey: str) -> None:
        if self._terms.any_hotkey:
            return
        try:
            neuron = await self._hotkeys.neuron(hotkey)
        except ChainError as error:
            log.warning("nobody can sign in, the metagraph can't be read: %s", error)
            raise sign_in_unavailable("the chain can't be reached") from None
        if neuron is None:
            raise not_registered(hotkey)


def _check_address(hotkey: str) -> None:
    try:
        Keypair(ss58_address=hotkey)
    except ValueError:
        raise invalid_request(
            f"hotkey {hotkey} is not an address: its checksum is wrong.", "hotkey"
        ) from None


def _is_signed(sent: SignInRequest) -> bool:
    try:
        return bool(
            verify(sent.message.encode(), bytes.fromhex(sent.signature.removeprefix("0x")), sent.hotkey)
        )
    except ValueError:
        return False


Body = TypeVar("Body", bound=Message)


def _parse(kind: type[Body], body: bytes) -> Body:
    try:
        return kind.model_validate_json(body)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        place = ".".join(str(part) for part in first["loc"])[:64]
        what = f"{place} of the body" if place else "The body"
        raise invalid_request(f"{what} is not what it should be: {first['msg']}.", place or None) from None


def open_sign_in(
    config: GatewayConfig, admission: Admission, hotkeys: SubnetHotkeys, gateway_hotkey: str, clock: Clock
) -> WalletSignIn | None:
    """What the flags ask for; None without --wallet-sign-in. Blocks.

    Raises:
        ConfigError: the database can't be used.
    """
    if not config.wallet_sign_in:
        return None
    keys = WalletKeys(admission.database)
    try:
        challenges = Challenges(keys.secret(), gateway_hotkey)
    except SQLAlchemyError as error:
        raise ConfigError(f"API keys can't be written: {error}; check --keys-database") from None
    limits = Limits(
        config.wallet_requests_per_minute or None,
        config.wallet_tokens_per_minute or None,
        config.wallet_tokens_per_day or None,
    )
    terms = SignInTerms(limits, config.wallet_any_hotkey, config.wallet_keys, config.wallet_key_days)
    return WalletSignIn(challenges, keys, hotkeys, admission, terms, clock)


def add_sign_in_routes(app: FastAPI, sign_in: WalletSignIn | None) -> None:
    """POST /v1/keys/challenge and POST /v1/keys."""

    @app.post("/v1/keys/challenge")
    async def challenge(request: Request) -> JSONResponse:
        if sign_in is None:
            raise sign_in_off()
        return _private(200, sign_in.challenge(request.scope, await _body(request)))

    @app.post("/v1/keys")
    async def key(request: Request) -> JSONResponse:
        if sign_in is None:
            raise sign_in_off()
        return _private(201, await sign_in.sign_in(request.scope, await _body(request)))


async def _body(request: Request) -> bytes:
    try:
        return await read_body(request.scope, request.receive, MAX_BODY_BYTES)
    except ClientLeft as error:
        raise ApiError(400, str(error)) from None


def _private(status: int, answer: dict[str, Any]) -> JSONResponse:
    return JSONResponse(answer, status, headers={"cache-control": "no-store"})
