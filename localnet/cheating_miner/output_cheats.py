"""Cheats with what the client is given: its length, or its words."""

from typing import Any

from localnet.cheating_miner.exchange import (
    BodyCheat,
    Change,
    Exchange,
    Payload,
    Server,
    asked_tokens,
    unchanged,
)

TOKENS_WITHOUT_LIMIT = 64
"""Where a truncated answer without a limit is cut off, before it is halved."""

PADDED_TOKENS = 256
"""The longest padded answer."""

ADVERTISEMENT = "Buy your lamps at the lighthouse shop! "


def ends_said_to_be_natural(payload: Payload) -> None:
    """Say that what met its limit came to its end."""
    for choice in payload.get("choices", ()):
        if choice.get("finish_reason") == "length":
            choice["finish_reason"] = "stop"


class Truncated(BodyCheat):
    """Computes half of what may be asked for."""

    async def exchange(self, server: Server, path: str, fields: Payload) -> Exchange:
        """The request with half its limit."""
        limit = asked_tokens(path, fields) or TOKENS_WITHOUT_LIMIT
        shorter = max(1, limit // 2, fields.get("min_tokens") or 0)
        if shorter >= limit:
            return Exchange(fields)
        return Exchange(_limited(fields, shorter), ends_said_to_be_natural)


class Padded(BodyCheat):
    """Ignores the end of the text and every stop word, up to the limit."""

    async def exchange(self, server: Server, path: str, fields: Payload) -> Exchange:
        """The request with nothing that ends it but its limit."""
        asked = asked_tokens(path, fields)
        limit = min(asked or PADDED_TOKENS, PADDED_TOKENS)
        endless = {name: value for name, value in fields.items() if name not in ("stop", "stop_token_ids")}
        change = ends_said_to_be_natural if limit != asked else unchanged
        return Exchange(_limited(endless | {"ignore_eos": True}, limit), change)


def _limited(fields: Payload, tokens: int) -> Payload:
    rest = {name: value for name, value in fields.items() if name != "max_completion_tokens"}
    return rest | {"max_tokens": tokens}


class OtherText(BodyCheat):
    """Puts words before those that the tokens stand for; every id is honest."""

    async def exchange(self, server: Server, path: str, fields: Payload) -> Exchange:
        """The request as it is, its answer with other words."""
        return Exchange(fields, _advertises())


def _advertises() -> Change:
    done: set[int] = set()

    def change(payload: Payload) -> None:
        for choice in payload.get("choices", ()):
            part, name = _words(choice)
            if part.get(name) and choice["index"] not in done:
                done.add(choice["index"])
                part[name] = ADVERTISEMENT + part[name]

    return change


def _words(choice: dict[str, Any]) -> tuple[dict[str, Any], str]:
    part = choice.get("delta") or choice.get("message")
    return (choice, "text") if part is None else (part, "content")
