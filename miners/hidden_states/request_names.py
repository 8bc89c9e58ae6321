"""What vLLM calls a request inside the engine, read back into what it is to us.

The API server turns a body's `request_id` R into `chatcmpl-R`, or `cmpl-R-<prompt number>`; the engine
appends a random suffix of 8 characters, and prefixes `<i>_` to the children of a request with n > 1. A
replay is named `replay-<hex>`.
"""

import re
from dataclasses import dataclass

REPLAY_PREFIX = "replay-"
CHOICES_PER_PROMPT = "constantinople_n"
"""Key of `SamplingParams.extra_args` that tells a child how many its prompt has; the plugin sets it, over
whatever a client may have put there."""

_BASE = r"(?P<base>[A-Za-z0-9_-]{8,64}?)"
_CHAT = re.compile(rf"(?:(?P<child>\d+)_)?chatcmpl-{_BASE}-[0-9a-f]{{8}}")
_COMPLETION = re.compile(rf"(?:(?P<child>\d+)_)?cmpl-{_BASE}-(?P<prompt>\d+)-[0-9a-f]{{8}}")


@dataclass(frozen=True)
class ChoiceName:
    """One choice of one request: its base id, and the choice's index in the response."""

    request_id: str
    choice: int


def parse_choice(internal_id: str, choices_per_prompt: int = 1) -> ChoiceName | None:
    """The choice that an engine request computes, or None when it is no client's request.

    Args:
        choices_per_prompt: believed only of a child; a request without siblings has one choice a prompt.
    """
    match = _CHAT.fullmatch(internal_id)
    if match:
        return ChoiceName(match["base"], int(match["child"] or 0))
    match = _COMPLETION.fullmatch(internal_id)
    if match:
        child, prompt = match["child"], int(match["prompt"])
        return ChoiceName(match["base"], prompt * choices_per_prompt + int(child) if child else prompt)
    return None


def is_replay(internal_id: str) -> bool:
    """Whether an engine request is one of our own replays."""
    return internal_id.startswith(REPLAY_PREFIX)
