"""Sign in with a Bittensor hotkey: `python -m gateway.sign_in --gateway URL --wallet … --hotkey …`."""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from shared.config import exit_on_config_error, load, setting
from shared.errors import ConfigError, ConstantinopleError, MalformedMessage

if TYPE_CHECKING:
    import httpx

    from shared.signing import Signer

PROGRAM = "python -m gateway.sign_in"
TIMEOUT_S = 60.0


class SignInFailed(ConstantinopleError):
    """The gateway can't be reached, or gives no key; the message says why."""


@dataclass(frozen=True)
class SignInConfig:
    """What `sign_in` is told."""

    gateway: str | None = setting(None, "URL of the gateway, as https://host")
    gateway_hotkey: str | None = setting(
        None, "the gateway's hotkey address, if you know it: a challenge of another gateway is not signed"
    )
    wallet: str = setting("default", "wallet whose hotkey signs")
    hotkey: str = setting("default", "name of the hotkey in that wallet")
    wallet_path: Path = setting(Path("~/.bittensor/wallets"), "folder of wallets")


def sign_in(client: "httpx.Client", signer: "Signer", gateway_hotkey: str | None) -> dict[str, Any]:
    """Sign in; gives what the gateway says of the new key.

    Args:
        client: its base URL is the gateway's.
        gateway_hotkey: of the gateway, where it is known.

    Raises:
        MalformedMessage: the gateway asks to sign something else than a challenge for this hotkey.
        SignInFailed: it can't be reached, or gives no key; says why.
    """
    from gateway.sign_in_challenge import parse_challenge

    hotkey = signer.ss58_address
    text = _field(_post(client, "/v1/keys/challenge", {"hotkey": hotkey}), "message")
    challenge = parse_challenge(text)
    if challenge.hotkey != hotkey or gateway_hotkey not in (None, challenge.gateway):
        raise MalformedMessage(
            f"the challenge is for {challenge.hotkey} at the gateway {challenge.gateway}: it is not signed"
        )
    signature = "0x" + bytes(signer.sign(text.encode())).hex()
    made = _post(client, "/v1/keys", {"hotkey": hotkey, "message": text, "signature": signature})
    _field(made, "key")
    return made


def _post(client: "httpx.Client", path: str, body: dict[str, str]) -> dict[str, Any]:
    import httpx

    try:
        answer = client.post(path, json=body)
        told = answer.json()
    except (httpx.HTTPError, httpx.InvalidURL, ValueError) as error:
        raise SignInFailed(f"{client.base_url} can't be asked: {error}") from None
    if not isinstance(told, dict):
        raise SignInFailed(f"{client.base_url} answers with something that is no JSON object")
    if answer.is_error:
        fields = told.get("error")
        words = fields.get("message") if isinstance(fields, dict) else None
        raise SignInFailed(f"HTTP {answer.status_code}: {words or 'no reason is given'}")
    return told


def _field(told: dict[str, Any], name: str) -> str:
    value = told.get(name)
    if not isinstance(value, str):
        raise SignInFailed(f"the gateway's answer has no {name}")
    return value


def main(argv: Sequence[str] | None = None) -> int:
    """Print a key on standard output, and what is known of it on standard error.

    Raises:
        ConfigError: no gateway is named, the hotkey can't be read, or the gateway gives no key.
    """
    config = load(SignInConfig, "Sign in to a gateway with a hotkey, for an API key.", argv, prog=PROGRAM)
    if not config.gateway:
        raise ConfigError("name the gateway: --gateway https://host")
    import httpx

    from shared.wallets import load_hotkey

    signer = load_hotkey(config.wallet, config.hotkey, config.wallet_path)
    try:
        with httpx.Client(base_url=config.gateway, timeout=TIMEOUT_S) as client:
            made = sign_in(client, signer, config.gateway_hotkey)
    except (MalformedMessage, SignInFailed, httpx.InvalidURL) as error:
        raise ConfigError(f"{config.gateway} gave no key: {error}") from None
    print(made["key"])
    print(f"{made.get('id')} for {signer.ss58_address}; the key is shown this once", file=sys.stderr)
    return 0


if __name__ == "__main__":
    exit_on_config_error(main)
