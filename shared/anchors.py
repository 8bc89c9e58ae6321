"""What an auditor commits to on chain after each epoch: 72 bytes that tie the published log to a block.

    cst1 | epoch (4 bytes, big-endian) | root of the epoch's records (32) | SHA-256 of its summary (32)

The summary names the one before it by digest, so the newest anchor covers all epochs: none can be rewritten,
added or left out afterwards without the chain showing it.
"""

import struct
from dataclasses import dataclass

from shared.identifiers import Hex32

_MARK = b"cst1"
_FORM = struct.Struct(">4sI32s32s")
ANCHOR_BYTES = _FORM.size


@dataclass(frozen=True)
class Anchor:
    """The epoch that a commitment is about; root and digest are hexadecimal."""

    epoch: int
    records_root: Hex32
    summary_digest: Hex32

    def encode(self) -> bytes:
        """The bytes that go to the chain."""
        root, digest = bytes.fromhex(self.records_root), bytes.fromhex(self.summary_digest)
        return _FORM.pack(_MARK, self.epoch, root, digest)


def decode_anchor(data: bytes) -> Anchor | None:
    """The anchor that a commitment holds; None for anything else, which a hotkey is free to commit to."""
    if len(data) != ANCHOR_BYTES or not data.startswith(_MARK):
        return None
    _, epoch, root, digest = _FORM.unpack(data)
    return Anchor(epoch, root.hex(), digest.hex())
