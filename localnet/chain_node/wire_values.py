"""Bytes and hashes as JSON-RPC writes them."""


def to_hex(value: bytes) -> str:
    return "0x" + value.hex()


def from_hex(text: str) -> bytes:
    """The bytes of a hex string, with or without `0x`.

    Raises:
        ValueError: it is no hex.
    """
    digits = text.removeprefix("0x")
    if not digits.isalnum() and digits:
        raise ValueError(f"not a hex string: {text[:20]!r}")
    return bytes.fromhex(digits)
