"""Keys and values of sequences that the reference has computed, for later ones that begin alike."""

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from torch import Tensor

TokenIds = npt.NDArray[np.int64]
LayerStates = tuple[Tensor, Tensor]


@dataclass(frozen=True, eq=False)
class Prefix:
    """What attention needs of a sequence's first tokens.

    Attributes:
        token_ids: [tokens].
        layers: of each layer the keys and the values, [1, heads, tokens, head size].
    """

    token_ids: TokenIds
    layers: Sequence[LayerStates]

    def __len__(self) -> int:
        return len(self.token_ids)

    @property
    def nbytes(self) -> int:
        return sum(states.nbytes for layer in self.layers for states in layer)

    def cut(self, tokens: int) -> "Prefix":
        """Its first tokens, sharing this one's memory."""
        layers = [(keys[..., :tokens, :], values[..., :tokens, :]) for keys, values in self.layers]
        return Prefix(self.token_ids[:tokens], layers)


def common_length(one: TokenIds, other: TokenIds) -> int:
    """How many tokens two sequences begin with alike."""
    shorter = min(len(one), len(other))
    differs = one[:shorter] != other[:shorter]
    return int(differs.argmax()) if differs.any() else shorter


class PrefixCache:
    """Keeps what was used last, up to a number of bytes, of prefixes that hold all `num_layers` layers."""

    def __init__(self, num_layers: int, max_bytes: int) -> None:
        self._num_layers, self._max_bytes = num_layers, max_bytes
        self._kept: OrderedDict[bytes, Prefix] = OrderedDict()
        self._nbytes = 0

    @property
    def nbytes(self) -> int:
        """What is kept now; never more than the limit."""
        return self._nbytes

    def find(self, token_ids: TokenIds, limit: int) -> Prefix | None:
        """The longest kept beginning of `token_ids` of at most `limit` tokens."""
        lengths = {key: common_length(kept.token_ids, token_ids) for key, kept in self._kept.items()}
        best = max(lengths, key=lambda key: lengths[key], default=None)
        if best is None or (tokens := min(lengths[best], limit)) < 1:
            return None
        self._kept.move_to_end(best)
        return self._kept[best].cut(tokens)

    def keep(self, prefix: Prefix) -> None:
        """Keep a prefix, in the place of shorter ones that it begins with; drop what was used longest ago."""
        if len(prefix.layers) < self._num_layers or prefix.nbytes > self._max_bytes:
            return
        for key, kept in list(self._kept.items()):
            alike = common_length(kept.token_ids, prefix.token_ids)
            if alike == len(prefix):
                self._kept.move_to_end(key)
                return
            if alike == len(kept):
                self._drop(key)
        self._kept[prefix.token_ids.tobytes()] = prefix
        self._nbytes += prefix.nbytes
        while self._nbytes > self._max_bytes:
            self._drop(next(iter(self._kept)))

    def _drop(self, key: bytes) -> None:
        self._nbytes -= self._kept.pop(key).nbytes
