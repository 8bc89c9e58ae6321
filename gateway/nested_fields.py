"""Reading a request of another API that becomes a chat: values inside of values, wrong ones named."""

from collections.abc import Mapping
from typing import Any

from gateway.errors import ApiError, invalid_request


def objects(value: Any, place: str, expected: str = "a list of objects") -> list[dict[str, Any]]:
    """A list of objects.

    Args:
        place: of the value in the request, as `messages.0.content` or `input[0].content`.
        expected: what it might have been, in words.

    Raises:
        ApiError: 400; it is something else.
    """
    if not isinstance(value, list) or not all(isinstance(one, dict) for one in value):
        raise wrong(place, f"it must be {expected}")
    return value


def text_of(fields: Mapping[str, Any], name: str, place: str) -> str:
    """A field that must be a text.

    Raises:
        ApiError: 400; it is something else, or not there.
    """
    value = fields.get(name)
    if not isinstance(value, str):
        raise wrong(f"{place}.{name}", "it must be a text")
    return value


def wrong(place: str, words: str) -> ApiError:
    """400: what is wrong at a place; the error's `param` is the field of the request that it is in."""
    return invalid_request(f"{place}: {words}.", place.partition(".")[0].partition("[")[0])
