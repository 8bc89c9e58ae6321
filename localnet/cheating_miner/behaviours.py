"""Every cheat by behaviour: its name, what it does, and its vLLM flags. Imports nothing heavy."""

from collections.abc import Sequence
from dataclasses import dataclass

from shared.errors import ConfigError

_FLAG = "--cheat"


@dataclass(frozen=True)
class Behaviour:
    """What one cheat does, in words, and the flags that its engine is started with."""

    summary: str
    engine_flags: tuple[str, ...] = ()


BEHAVIOURS = {
    "system-prompt": Behaviour("puts a system prompt of its own before every chat, and hides it"),
    "template": Behaviour(
        "renders chats with one more line end than the model's template, and hides it",
        ("--trust-request-chat-template",),
    ),
    "temperature-up": Behaviour("samples at 0.1 more than the temperature asked for"),
    "temperature-down": Behaviour("samples at 0.1 less than the temperature asked for"),
    "wrong-seed": Behaviour("samples with another seed than the one it is given"),
    "top-p-ignored": Behaviour("samples from all tokens, whatever top_p says"),
    "truncated": Behaviour("stops at half the length and says that the text ended"),
    "padded": Behaviour("writes on after the end of the text, to be paid for more tokens"),
    "other-text": Behaviour("shows honest token ids, and a text that advertises something"),
    "prefill-attack": Behaviour("lets 4-bit weights write the text and the true model only read it"),
    "late-computation": Behaviour("commits to noise, and computes the true vectors when it is challenged"),
    "replayed-opening": Behaviour("answers a challenge with the openings of another request"),
    "replayed-sketches": Behaviour("commits to the sketches of an earlier request"),
    "refuse-unknown": Behaviour("knows the start of the chat template, and answers 404 for the rest"),
    "probes-only": Behaviour("is honest when a short prompt looks like a probe, and else as prefill-attack"),
    "random-sketches": Behaviour("commits to random sketches"),
    "slow-drip": Behaviour("sends its answers a byte a second"),
}


def listing() -> str:
    """The cheats, one line each."""
    lines = (f"  {name:<18} {behaviour.summary}" for name, behaviour in BEHAVIOURS.items())
    return "\n".join([f"{_FLAG} NAME, where NAME is one of", *lines, ""])


def read_cheat(arguments: Sequence[str]) -> tuple[str, list[str]]:
    """The cheat that the flags name, and the other flags.

    Raises:
        ConfigError: none is named, or one that doesn't exist.
    """
    rest, name = list(arguments), ""
    if _FLAG in rest[:-1]:
        place = rest.index(_FLAG)
        name = rest[place + 1]
        del rest[place : place + 2]
    if {"-h", "--help"} & set(rest):
        return name, rest
    if name not in BEHAVIOURS:
        raise ConfigError(f"{_FLAG} is {name!r}; it must be one of {', '.join(BEHAVIOURS)}")
    return name, rest
