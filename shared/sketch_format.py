"""How a sketch is written, apart from the code that computes one, so that reading messages needs no torch."""

import base64

from shared.errors import MalformedMessage

SKETCH_SIZE = 64
"""Numbers in a sketch."""

SKETCH_BYTES = SKETCH_SIZE * 2
"""Bytes of a sketch: little-endian bfloat16."""


def decode_base64(text: str, limit_bytes: int) -> bytes:
    """Strict base64.

    Raises:
        MalformedMessage: not base64, or more than `limit_bytes` when decoded.
    """
    if len(text) > limit_bytes * 4 // 3 + 4:
        raise MalformedMessage(
            f"base64 text of {len(text)} characters is longer than {limit_bytes} bytes allow"
        )
    try:
        return base64.b64decode(text, validate=True)
    except ValueError as error:
        raise MalformedMessage(f"not base64: {error}") from None
