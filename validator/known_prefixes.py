"""How much of a prompt its miner has served before: what a prefix cache could have supplied.

vLLM keeps keys and values in blocks of tokens and finds them again by a hash over all tokens up to the end
of a block (`vllm/v1/core/kv_cache_utils.py`). The same is kept here, by miner, of every prompt with its
answer, as far as this gateway's log tells: a miner may have served others, whose blocks it can use as well.
"""

import hashlib
import struct
import threading
from collections import OrderedDict
from collections.abc import Iterator, Sequence

from shared.records import RequestRecord

BLOCK_TOKENS = 16
"""Size of vLLM's blocks unless it is configured otherwise; larger ones are multiples of it."""

MAX_BLOCKS = 400_000
"""Blocks that are remembered over all miners, about 60 MB; those unused for longest are forgotten first."""

MATURE_MS = 3_600_000
"""After a start nothing is said for an hour of traffic: what was served before is not known."""

_DIGEST_BYTES = 8


class KnownPrefixes:
    """Blocks that each miner has served; bounded in memory, new with every start."""

    def __init__(self, most: int = MAX_BLOCKS) -> None:
        self._most = most
        self._blocks: OrderedDict[tuple[str, bytes], None] = OrderedDict()
        self._since_ms: int | None = None
        self._turn = threading.Lock()

    def take(self, record: RequestRecord) -> int | None:
        """Tokens at the beginning of the first choice's prompt that its miner had served before.

        None while too little is known, and of a request without an answer. The record is remembered. Several
        threads may call it.
        """
        with self._turn:
            return self._take(record)

    def _take(self, record: RequestRecord) -> int | None:
        if self._since_ms is None:
            self._since_ms = record.finished_at_ms
        if record.outcome != "answered" or not record.choices:
            return None
        first = record.choices[0]
        known = self._known(record.miner_hotkey, first.prompt_token_ids)
        for choice in record.choices:
            self._remember(record.miner_hotkey, choice.prompt_token_ids + choice.output_token_ids[:-1])
        return known if record.finished_at_ms - self._since_ms >= MATURE_MS else None

    def _known(self, hotkey: str, prompt: Sequence[int]) -> int:
        known = 0
        for digest in _blocks(prompt):
            if (hotkey, digest) not in self._blocks:
                break
            known += BLOCK_TOKENS
        return known

    def _remember(self, hotkey: str, tokens: Sequence[int]) -> None:
        # From the end: of a prefix, its end is then forgotten first.
        for digest in reversed(list(_blocks(tokens))):
            self._blocks[hotkey, digest] = None
            self._blocks.move_to_end((hotkey, digest))
        while len(self._blocks) > self._most:
            self._blocks.popitem(last=False)


def _blocks(tokens: Sequence[int]) -> Iterator[bytes]:
    """One digest a whole block, over everything up to its end; none from an impossible token id on."""
    before = b""
    for start in range(0, len(tokens) - BLOCK_TOKENS + 1, BLOCK_TOKENS):
        block = tokens[start : start + BLOCK_TOKENS]
        try:
            data = before + struct.pack(f"<{BLOCK_TOKENS}I", *block)
        except struct.error:
            return
        before = hashlib.blake2b(data, digest_size=_DIGEST_BYTES).digest()
        yield before
