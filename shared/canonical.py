"""One byte sequence for one value, so that digests and signatures agree across processes."""

import hashlib
import json
import struct
from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import BaseModel


def canonical_json(value: Mapping[str, Any] | Sequence[Any] | BaseModel) -> bytes:
    """Encode as UTF-8 JSON with sorted keys, no blanks, no NaN or infinity.

    Floats are written as the shortest text that reads back to the same double, which is what
    Python, JavaScript and RFC 8785 do for the range that this project uses.

    Raises:
        ValueError: a float is NaN or infinite.
        TypeError: a value has no JSON form.
    """
    plain = value.model_dump(mode="json") if isinstance(value, BaseModel) else value
    text = json.dumps(plain, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    return text.encode()


def sha256_hex(data: bytes) -> str:
    """SHA-256 of `data` as 64 lowercase hexadecimal digits."""
    return hashlib.sha256(data).hexdigest()


def token_ids_digest(token_ids: Sequence[int]) -> str:
    """SHA-256 over the token ids as little-endian 32-bit words.

    Raises:
        ValueError: an id does not fit 32 unsigned bits.
    """
    try:
        return sha256_hex(struct.pack(f"<{len(token_ids)}I", *token_ids))
    except struct.error as error:
        raise ValueError(f"token ids must be whole numbers from 0 to 2**32-1: {error}") from None
