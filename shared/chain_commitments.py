"""Commitments on chain: a few bytes that a hotkey publishes for a subnet, kept by the Commitments pallet.

The pallet takes fields of several kinds; this project writes and reads exactly one run of raw bytes.
"""

import re
from collections.abc import Iterable
from typing import Any

import bittensor as bt

MAX_COMMITMENT_BYTES = 128
"""The longest raw field of the pallet, `Raw128`."""

_RAW = re.compile(r"Raw(\d{1,3})")


def checked_commitment(data: bytes) -> bytes:
    """`data`, if it fits.

    Raises:
        ValueError: it is longer than a raw field holds.
    """
    if len(data) > MAX_COMMITMENT_BYTES:
        raise ValueError(f"a commitment holds {MAX_COMMITMENT_BYTES} bytes at most, not {len(data)}")
    return data


def commitment_call(netuid: int, data: bytes) -> Any:
    """The SDK's call that publishes `data`, to be signed by the hotkey."""
    field = {f"Raw{len(data)}": list(data)}
    return bt.calls.Commitments.set_commitment(netuid=netuid, info={"fields": [field]})


def commitments_of(rows: Iterable[tuple[Any, Any]]) -> dict[str, bytes]:
    """Commitments by hotkey, of decoded `CommitmentOf` storage; those of another form are left out."""
    found = ((str(hotkey), _raw_bytes(record)) for hotkey, record in rows)
    return {hotkey: data for hotkey, data in found if data is not None}


def _raw_bytes(record: Any) -> bytes | None:
    info = record.get("info") if isinstance(record, dict) else None
    fields = info.get("fields") if isinstance(info, dict) else None
    if not isinstance(fields, list | tuple) or len(fields) != 1 or not isinstance(fields[0], dict):
        return None
    ((kind, value), *more) = fields[0].items() or [("", None)]
    length = _RAW.fullmatch(kind)
    if more or length is None:
        return None
    data = _decoded(value)
    return data if data is not None and len(data) == int(length[1]) else None


def _decoded(value: Any) -> bytes | None:
    """Bytes as the SDK's codec shows them: 0x-hex, or a list of numbers where there are none."""
    try:
        if isinstance(value, str) and value.startswith("0x"):
            return bytes.fromhex(value[2:])
        return bytes(value) if isinstance(value, list | tuple) else None
    except (ValueError, TypeError):
        return None
