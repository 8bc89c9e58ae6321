"""Words for what is unusual about a client's request that repeat nothing of what the client wrote.

Reasons of verdicts are published; requests are not.
"""

from pydantic import ValidationError

_ROLES = frozenset({"system", "developer", "user", "assistant", "tool", "function"})

_PART_TYPES = frozenset(
    {"image_url", "input_image", "image_pil", "image_embeds", "audio_url", "input_audio", "video_url", "file"}
)


def unusual_field(error: ValidationError) -> str:
    """Which field is unusual, by its name in the API: keys and values inside of it are the client's."""
    first = error.errors(include_url=False, include_input=False)[0]
    name = first["loc"][0] if first["loc"] else "body"
    return f"the request's field {name} is unusual: {first['msg']}"


def role_in_words(role: str) -> str:
    """A role that the API knows, or that it is another."""
    return role if role in _ROLES else "an unknown role"


def part_type_in_words(kind: object) -> str:
    """A type of content that the API knows, or that it is another."""
    return f"the type {kind}" if isinstance(kind, str) and kind in _PART_TYPES else "an unknown type"
