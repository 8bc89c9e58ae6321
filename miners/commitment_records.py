"""Commitments as bytes: records that each stand alone, so that damage to one costs no other.

A record is the mark, the payload's length, its CRC-32, then the payload: time of writing, request id, layers,
lengths of each choice, its token ids as 32-bit words, and the sketches. Everything is little-endian.
"""

import struct
import zlib
from array import array
from collections.abc import Iterator
from dataclasses import dataclass

from shared.commitments import ChoiceShape, Commitment

MARK = b"\x93commit\n"
"""Begins a record, and is where reading goes on after damage. Random bytes hold it once in 2**64."""

_FRAME = struct.Struct(f"<{len(MARK)}sII")
_HEAD = struct.Struct("<dHHH")
_CHOICE = struct.Struct("<HIII")


@dataclass(frozen=True)
class WrittenCommitment:
    """A commitment and when it was written, in Unix seconds."""

    written_at_s: float
    commitment: Commitment


@dataclass(frozen=True)
class Damage:
    """Bytes that are no whole record."""

    offset: int
    size: int


def encode_record(written: WrittenCommitment) -> bytes:
    """One record."""
    payload = b"".join(_payload(written.written_at_s, written.commitment))
    return _FRAME.pack(MARK, len(payload), zlib.crc32(payload)) + payload


def _payload(written_at_s: float, commitment: Commitment) -> Iterator[bytes]:
    name = commitment.request_id.encode()
    yield _HEAD.pack(written_at_s, len(name), commitment.num_layers, len(commitment.choices))
    yield name
    for choice in commitment.choices:
        yield _CHOICE.pack(choice.index, choice.prompt_tokens, choice.output_tokens, choice.cached_tokens)
    for choice in commitment.choices:
        ids = commitment.token_ids[choice.index]
        yield struct.pack(f"<{choice.prompt_tokens + choice.output_tokens}I", *ids)
    yield commitment.sketches


def scan_records(data: bytes, offset: int = 0) -> Iterator[WrittenCommitment | Damage]:
    """What `data` holds from `offset` on: whole records, and between them damage, in order; never raises."""
    while offset < len(data):
        found = _record_at(data, offset)
        if found is None:
            following = data.find(MARK, offset + 1)
            end = len(data) if following < 0 else following
            yield Damage(offset, end - offset)
        else:
            written, end = found
            yield written
        offset = end


def _record_at(data: bytes, offset: int) -> tuple[WrittenCommitment, int] | None:
    """The record that begins at `offset` and where it ends."""
    start = offset + _FRAME.size
    if len(data) < start:
        return None
    mark, length, checksum = _FRAME.unpack_from(data, offset)
    payload = memoryview(data)[start : start + length]
    if mark != MARK or len(payload) != length or zlib.crc32(payload) != checksum:
        return None
    return _decode(payload), start + length


def _decode(payload: memoryview) -> WrittenCommitment:
    """The payload of a record whose checksum is right, so that it is as it was written."""
    written_at_s, name_bytes, num_layers, count = _HEAD.unpack_from(payload)
    place = _HEAD.size + name_bytes
    name = bytes(payload[_HEAD.size : place]).decode()
    choices = tuple(
        ChoiceShape(*_CHOICE.unpack_from(payload, place + n * _CHOICE.size)) for n in range(count)
    )
    place += count * _CHOICE.size
    token_ids = {}
    for choice in choices:
        words = struct.Struct(f"<{choice.prompt_tokens + choice.output_tokens}I")
        token_ids[choice.index] = array("I", words.unpack_from(payload, place))
        place += words.size
    commitment = Commitment(name, num_layers, choices, token_ids, bytes(payload[place:]))
    return WrittenCommitment(written_at_s, commitment)
