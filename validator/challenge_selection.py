"""Which requests are audited and at which points: drawn from a later block and the miner's own signature.

Nobody can choose the draw: the block is produced after the answer was recorded, the signature was made
before the block. Everybody can repeat it. With SHA-256 and UTF-8 text, `|` as the separator:

    seed          = hex of sha256("constantinople/challenge-seed/1|" block_hash "|" receipt_signature)
    draw(l, n)    = sha256("constantinople/challenge/1|" seed "|" l "|" n) as a big-endian integer
    selection     = (draw("select", 0) >> 203) / 2**53
    a choice of m = draw(l, n) mod m

`block_hash` and `receipt_signature` are 0x-hex in lowercase, as the chain and the receipt state them. The
signature is the empty text for a record without a readable receipt.
"""

import hashlib
from collections.abc import Iterable, Sequence

from shared.chain import Block
from shared.commitments import Point
from shared.receipts import ReceiptBody
from shared.records import RequestRecord

MIN_POINTS = 4
"""Fewest points of an audit: at four, standardised sketches separate int8 weights from honest noise
(docs/THREATS.md shows the measurement)."""

DEFAULT_POINTS = 32
"""Points of an audit. They cost the auditor nothing, being read in one pass; a miner sends about 0.6 KB
for each. More of them even out the noise of single points (docs/DETECTION.md)."""

_DRAW_BITS = 256
_FLOAT_BITS = 53


def challenge_block(finished_at_ms: int, blocks: Iterable[Block]) -> Block | None:
    """The first block produced after an answer was recorded, or None when there is none yet.

    `blocks` must hold every block between the answer and that one, in any order.
    """
    later = (block for block in blocks if block.timestamp_ms > finished_at_ms)
    return min(later, key=lambda block: block.number, default=None)


def challenge_seed(block_hash: str, receipt_signature: str) -> str:
    """The seed of everything that is drawn about one answer: 64 lowercase hexadecimal digits."""
    message = f"constantinople/challenge-seed/1|{block_hash.lower()}|{receipt_signature}"
    return hashlib.sha256(message.encode()).hexdigest()


def record_seed(record: RequestRecord, block: Block) -> str:
    """The challenge seed of a record, whatever stands in its receipt."""
    signature = (record.receipt or {}).get("signature")
    return challenge_seed(block.hash, signature if isinstance(signature, str) else "")


def _draw(seed: str, label: str, number: int) -> int:
    message = f"constantinople/challenge/1|{seed}|{label}|{number}"
    return int.from_bytes(hashlib.sha256(message.encode()).digest(), "big")


def selection_draw(seed: str) -> float:
    """A number in [0, 1), uniform over seeds: the answer is audited when it is below the miner's rate."""
    return float((_draw(seed, "select", 0) >> (_DRAW_BITS - _FLOAT_BITS)) / (1 << _FLOAT_BITS))


class _Pool:
    """Committed positions of one part (prompt or output) of one choice, handed out in drawn order."""

    def __init__(self, seed: str, choice: int, part: str, positions: Sequence[int]) -> None:
        self._seed, self._label = seed, f"position/{choice}/{part}"
        self.choice, self._all = choice, list(positions)
        self._left: list[int] = []
        self._drawn = 0

    @property
    def size(self) -> int:
        """Number of positions."""
        return len(self._all)

    def next(self) -> int:
        """The next position; every one comes once before any comes again."""
        self._left = self._left or list(self._all)
        index = _draw(self._seed, self._label, self._drawn) % len(self._left)
        self._drawn += 1
        return self._left.pop(index)


def _layer_band(seed: str, turn: int, num_layers: int) -> range:
    """The layers that the point of this turn is drawn from.

    In every four points one is the last layer, two are in the upper half, one is in the lower half: a miner
    that computes honestly up to some layer and cheaply above it meets the upper ones in every audit. The
    order is turned by one from four to four, so that every pool comes to every band.
    """
    middle = num_layers // 2
    bands = (
        range(num_layers, num_layers + 1),
        range(middle + 1, num_layers + 1),
        range(1, max(middle, 1) + 1),
        range(middle + 1, num_layers + 1),
    )
    return bands[(_draw(seed, "band", 0) + turn + turn // len(bands)) % len(bands)]


def _pools(seed: str, receipt: ReceiptBody) -> list[_Pool]:
    """Non-empty pools in the order of their turns: choices shuffled, output before prompt for each.

    Position 0 is drawn only for a choice that commits to nothing else: as the attention sink it depends on
    the first token alone, which is the same in every prompt of a chat template, so it says nothing.
    """
    choices = sorted(receipt.choices, key=lambda choice: choice.index)
    shuffled = sorted(choices, key=lambda choice: (_draw(seed, "choice", choice.index), choice.index))
    pools = []
    for choice in shuffled:
        committed = choice.shape().positions(receipt.request_id)
        positions = [position for position in committed if position > 0] or committed
        output = [position for position in positions if position >= choice.prompt_tokens]
        prompt = [position for position in positions if position < choice.prompt_tokens]
        pools += [
            _Pool(seed, choice.index, "output", output),
            _Pool(seed, choice.index, "prompt", prompt),
        ]
    return [pool for pool in pools if pool.size]


def _draw_layer(seed: str, turn: int, num_layers: int, used: set[int]) -> int:
    band = [layer for layer in _layer_band(seed, turn, num_layers) if layer not in used]
    free = band or [layer for layer in range(1, num_layers + 1) if layer not in used]
    return free[_draw(seed, "layer", turn) % len(free)]


def draw_points(seed: str, receipt: ReceiptBody, count: int = DEFAULT_POINTS) -> list[Point]:
    """The committed points that an audit opens, all different, in drawn order.

    Turn by turn: pools (output, then prompt, of each choice; choices in drawn order) take turns, each
    gives its next position, and the layer comes from the turn's band. The first n of a longer draw are the
    draw of n. Fewer than `count` come back only when fewer are committed.

    Check the receipt's lengths and layers against the record first: the work grows with them.

    Raises:
        ValueError: `count` is below MIN_POINTS, or the receipt commits to nothing.
    """
    if count < MIN_POINTS:
        raise ValueError(f"an audit opens at least {MIN_POINTS} points, not {count}")
    pools = _pools(seed, receipt)
    used: dict[tuple[int, int], set[int]] = {}
    points: list[Point] = []
    available = sum(pool.size for pool in pools) * receipt.num_layers
    if not available:
        raise ValueError(f"the receipt of {receipt.request_id} commits to no point")
    turn = 0
    while len(points) < min(count, available):
        pool = pools[turn % len(pools)]
        position = pool.next()
        layers = used.setdefault((pool.choice, position), set())
        if len(layers) < receipt.num_layers:
            layer = _draw_layer(seed, turn, receipt.num_layers, layers)
            layers.add(layer)
            points.append(Point(pool.choice, position, layer))
        turn += 1
    return points


def draw_replay_point(seed: str, receipt: ReceiptBody) -> Point:
    """The point whose full vector is replayed.

    Half of the draws take the first opened point, where the answer must agree with the committed sketch
    too; the others take any position that has a hidden state, committed or not, at any layer.

    Raises:
        ValueError: the receipt commits to nothing.
    """
    if _draw(seed, "replay/kind", 0) % 2 == 0:
        return draw_points(seed, receipt, MIN_POINTS)[0]
    choice = receipt.choices[_draw(seed, "replay/choice", 0) % len(receipt.choices)]
    computed = choice.prompt_tokens + max(choice.output_tokens - 1, 0)
    position = _draw(seed, "replay/position", 0) % computed
    return Point(choice.index, position, 1 + _draw(seed, "replay/layer", 0) % receipt.num_layers)
