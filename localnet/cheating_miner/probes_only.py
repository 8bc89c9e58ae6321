"""A cheat that is honest whenever it thinks that it is being watched."""

from typing import Any

import orjson
from starlette.types import ASGIApp, Receive, Scope, Send

from localnet.cheating_miner.cheat import Cheat
from localnet.cheating_miner.exchange import Payload
from miners.http_messages import with_body
from miners.service import Answers, Capture
from shared.inference_paths import CHAT_PATH

PROBE_CHARACTERS = 200
"""Prompts below this many characters are taken for probes."""


def looks_like_a_probe(path: str, fields: Payload) -> bool:
    """A guess: an auditor writes one short question, a client writes long texts or a conversation."""
    if path != CHAT_PATH:
        return _length(fields.get("prompt")) < PROBE_CHARACTERS
    asked = [message for message in fields.get("messages") or () if message.get("role") != "system"]
    return len(asked) == 1 and _length(asked[0].get("content")) < PROBE_CHARACTERS


def _length(text: Any) -> int:
    """Characters of a text; token ids and lists of texts count as long as they look in JSON."""
    return len(text) if isinstance(text, str) else len(orjson.dumps(text))


class ProbesOnly(Cheat):
    """Lets what looks like a probe through to the true model, and everything else to another cheat."""

    def __init__(self, other: Cheat) -> None:
        self._other = other

    def inside(self, app: ASGIApp) -> ASGIApp:
        """vLLM's server for probes, the other cheat's for the rest."""
        cheating = self._other.inside(app)

        async def chosen(scope: Scope, receive: Receive, send: Send) -> None:
            body = (await receive())["body"]
            honest = looks_like_a_probe(scope["path"], orjson.loads(body))
            await (app if honest else cheating)(scope, with_body(body, receive), send)

        return chosen

    def capture(self, capture: Capture) -> Capture:
        """As the other cheat captures."""
        return self._other.capture(capture)

    def answers(self, answers: Answers) -> Answers:
        """As the other cheat answers."""
        return self._other.answers(answers)
