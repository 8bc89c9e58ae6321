"""Validated field types that several messages share."""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

RequestId = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_-]{8,64}$")]
"""What the gateway names a request; also the key of everything that is drawn for it."""

Hex32 = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
"""A 32-byte hash in lowercase hexadecimal."""

SignatureHex = Annotated[str, StringConstraints(pattern=r"^0x[0-9a-f]{128}$")]
"""A 64-byte sr25519 signature."""

Ss58 = Annotated[str, StringConstraints(pattern=r"^[1-9A-HJ-NP-Za-km-z]{46,50}$")]
"""A hotkey's address."""

Whole = Annotated[int, Field(ge=0, le=1 << 53)]
"""A count, or a block's number: exact in every reader of JSON."""

Seed = Annotated[int, Field(ge=-(1 << 63), lt=1 << 64)]
"""What a sampler is started with: 64 bits, signed or unsigned."""

TokenId = Annotated[int, Field(ge=0, lt=1 << 32)]

ClientName = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{32}$")]
"""What a client is called in records and published facts, which leads back to nobody."""


class Message(BaseModel):
    """Base of everything that crosses a process: immutable, strict, closed, finite.

    Parse bytes with `model_validate_json`; unknown fields, wrong types, NaN and infinity are refused.
    """

    model_config = ConfigDict(frozen=True, strict=True, extra="forbid", allow_inf_nan=False)
