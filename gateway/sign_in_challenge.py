"""What a hotkey signs to get an API key: a text that names gateway, hotkey and end, and can't be invented.

The gateway keeps no challenge that it has given: the text carries a seal, HMAC-SHA-256 of all the rest under
a secret of the gateway's database, so that any process of any gateway that shares the database knows it.
"""

import hashlib
import hmac
import re
import secrets
from collections.abc import Callable
from dataclasses import dataclass

from shared.errors import MalformedMessage

CHALLENGE_SECONDS = 300
"""Time to sign: enough for a key on another machine, and for copying by hand."""

NONCE_BYTES = 16
SECRET_BYTES = 32
MAX_TEXT_CHARS = 1024

_HEAD = (
    "constantinople/sign-in/1\n"
    "Signing this gives you an API key of the gateway below. It moves no funds and allows nothing else.\n"
)
_TEXT = re.compile(
    re.escape(_HEAD)
    + r"gateway: (?P<gateway>[1-9A-HJ-NP-Za-km-z]{46,50})\n"
    + r"hotkey: (?P<hotkey>[1-9A-HJ-NP-Za-km-z]{46,50})\n"
    + r"expires: (?P<expires>[0-9]{1,16})\n"
    + r"nonce: (?P<nonce>[0-9a-f]{32})\n"
    + r"seal: (?P<seal>[0-9a-f]{64})"
)


@dataclass(frozen=True)
class Challenge:
    """A text to sign. `expires_at_ms` is Unix time; `gateway` and `hotkey` are addresses."""

    gateway: str
    hotkey: str
    expires_at_ms: int
    nonce: str
    seal: str

    @property
    def stated(self) -> str:
        """All but the seal."""
        return (
            f"{_HEAD}gateway: {self.gateway}\nhotkey: {self.hotkey}\nexpires: {self.expires_at_ms}\n"
            f"nonce: {self.nonce}\n"
        )

    @property
    def text(self) -> str:
        """What is signed, as UTF-8."""
        return f"{self.stated}seal: {self.seal}"


def parse_challenge(text: str) -> Challenge:
    """The challenge that `text` is, to the letter.

    Raises:
        MalformedMessage: it is another text; never sign that.
    """
    found = _TEXT.fullmatch(text)
    if found is None:
        raise MalformedMessage("the text is not a sign-in challenge of a gateway")
    return Challenge(found["gateway"], found["hotkey"], int(found["expires"]), found["nonce"], found["seal"])


class Challenges:
    """Makes challenges of one gateway, and knows them again.

    Args:
        secret: SECRET_BYTES, the same for all processes that share the keys.
    """

    def __init__(
        self,
        secret: bytes,
        gateway_hotkey: str,
        new_nonce: Callable[[int], str] = secrets.token_hex,
    ) -> None:
        self._secret, self._gateway_hotkey, self._new_nonce = secret, gateway_hotkey, new_nonce

    def new(self, hotkey: str, now_ms: int) -> Challenge:
        """A fresh challenge for a hotkey."""
        ends_ms = now_ms + CHALLENGE_SECONDS * 1000
        bare = Challenge(self._gateway_hotkey, hotkey, ends_ms, self._new_nonce(NONCE_BYTES), "")
        return Challenge(bare.gateway, hotkey, ends_ms, bare.nonce, self._seal(bare))

    def is_own(self, challenge: Challenge) -> bool:
        """Whether this gateway gave it."""
        return challenge.gateway == self._gateway_hotkey and hmac.compare_digest(
            challenge.seal, self._seal(challenge)
        )

    def _seal(self, challenge: Challenge) -> str:
        return hmac.new(self._secret, challenge.stated.encode(), hashlib.sha256).hexdigest()
