"""Rounds: moments at which many miners are asked at once, a drawn half of them or all.

Who is slow when whom is asked too shows which miners share a machine (`validator/shared_machines.py`); a
round that asks all goes on for a while, and measures what miners are paid for (`validator/full_rounds.py`).
Whether a block is followed by a round, at which moment of the next 12 s, of which kind it is and who is a
member are drawn from SHA-256 over the hash of that block and a secret of the epoch:

    draw(what) = first 8 bytes of SHA-256(constantinople/round/1|secret|block hash|what) ÷ 2⁶⁴

The secret keeps miners from knowing which of their requests belong to a round. It is revealed with the
epoch, and its SHA-256 was published two epochs earlier, before any of its blocks existed: so the auditor
could choose no round and no member, and anybody can draw again.
"""

import hashlib
import hmac
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Annotated

from pydantic import Field

from shared.canonical import sha256_hex
from shared.identifiers import Hex32, Message, RequestId, Ss58, Whole
from shared.receipts import UnixMs
from validator.scoring_config import ScoringConfig

BLOCK_MS = 12_000
"""Time between blocks of the main chain. A round takes place within so long after its block, and of chain
time each run of so long has at most one, however fast a development chain makes blocks."""

MAX_ROUND_LAG_MS = 60_000
"""A request that began later after its round's block is not of that round."""

MAX_ROUNDS = 256
"""Rounds of one epoch that a follower reads."""

COMMITTED_AHEAD = 2
"""A secret's digest is published so many epochs ahead: an epoch is sealed while the next one runs."""

MOST_REQUESTS = 64
"""Requests of one member in one round."""

MEMBER_SHARE = 0.5
_SCALE = float(1 << 64)


class RoundRequests(Message):
    """What one member was asked: the requests' ids as far as the gateway told them."""

    hotkey: Ss58
    request_ids: Annotated[tuple[RequestId, ...], Field(max_length=MOST_REQUESTS)]


class ProbeRound(Message):
    """One round as it is published.

    Attributes:
        full: whether everybody is asked, again and again, and not a drawn half.
        requests_each: at once.
        block, block_hash, block_at_ms: the block that it was drawn from.
        miners: the hotkeys that could have been members, in order.
        asked: the members.
    """

    block: Whole
    block_hash: Annotated[str, Field(max_length=66)]
    block_at_ms: UnixMs
    full: bool
    requests_each: Annotated[int, Field(ge=1, le=16)]
    miners: tuple[Ss58, ...]
    asked: tuple[RoundRequests, ...]


@dataclass(frozen=True)
class RoundDraw:
    """What follows from a block: how long after it, whether all are asked, how many requests each gets.

    All at once; a member is asked again as soon as it has answered, until `lasts_ms` have passed.
    """

    delay_ms: int
    full: bool
    requests_each: int
    lasts_ms: int


def epoch_secret(key: bytes, epoch: int) -> str:
    """The secret of an epoch, 64 hexadecimal digits; `key` never leaves the auditor."""
    return hmac.new(key, b"constantinople/round-secret/1|%d" % epoch, hashlib.sha256).hexdigest()


def secret_commitment(secret: Hex32) -> str:
    """What is published of a secret beforehand."""
    return sha256_hex(secret.encode())


def round_after(secret: str, block_hash: str, config: ScoringConfig) -> RoundDraw | None:
    """The round that a block is followed by, if any."""
    if _draw(secret, block_hash, "held") >= config.round_share:
        return None
    kind = _draw(secret, block_hash, "kind")
    full = kind < config.full_round_share
    wide = not full and kind < config.full_round_share + config.wide_round_share
    delay_ms = int(_draw(secret, block_hash, "delay") * BLOCK_MS)
    each = config.wide_round_requests if wide else 1
    return RoundDraw(delay_ms, full, each, config.full_round_ms if full else 0)


def slot(block_at_ms: int) -> int:
    """The run of 12 s of chain time that a block lies in."""
    return block_at_ms // BLOCK_MS


def members(secret: str, block_hash: str, full: bool, miners: Iterable[str]) -> tuple[str, ...]:
    """Those of `miners` that are asked, in order: all, or each with probability ½, whoever else is."""
    share = 1.0 if full else MEMBER_SHARE
    return tuple(hotkey for hotkey in sorted(miners) if _draw(secret, block_hash, f"member|{hotkey}") < share)


def _draw(secret: str, block_hash: str, what: str) -> float:
    digest = hashlib.sha256(f"constantinople/round/1|{secret}|{block_hash}|{what}".encode()).digest()
    return int.from_bytes(digest[:8], "big") / _SCALE
