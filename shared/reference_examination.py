"""What is asked of the reference about one sequence, and what its passes have found so far."""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from shared.reference_logits import LogitsRequest


@dataclass(frozen=True)
class Examination:
    """What is asked about one sequence.

    Attributes:
        token_ids: the whole sequence; only the part up to the last wanted position is computed.
        points: wanted positions by layer (0 = the embedding's output); may be empty when logits are wanted.
        logits: where logits are wanted, and who reads them.
    """

    token_ids: Sequence[int]
    points: Mapping[int, Sequence[int]] = field(default_factory=dict)
    logits: LogitsRequest | None = None

    def _positions(self) -> Iterator[int]:
        for positions in self.points.values():
            yield from positions

    @property
    def length(self) -> int:
        """Tokens that have to be computed."""
        return 1 + max([*self._positions(), *([self.logits.last] if self.logits else [])])

    @property
    def earliest(self) -> int:
        """The first wanted position."""
        return min([*self._positions(), *([self.logits.first] if self.logits else [])])


class Reading:
    """What passes have read so far for one examination; a sequence may take more than one pass."""

    def __init__(self, asked: Examination) -> None:
        self.asked = asked
        self._rows: dict[int, list[Tensor]] = defaultdict(list)
        self._places: dict[int, dict[int, int]] = defaultdict(dict)
        self._states: list[Tensor] = []

    def take(self, layer: int, hidden: Tensor, start: int) -> None:
        """Take what is wanted of `hidden` [tokens, hidden_size], whose first row is position `start`."""
        end = start + len(hidden)
        wanted = sorted({p for p in self.asked.points.get(layer, ()) if start <= p < end})
        if wanted:
            places = self._places[layer]
            places.update({position: len(places) + row for row, position in enumerate(wanted)})
            self._rows[layer].append(hidden[[position - start for position in wanted]])

    def take_states(self, states: Tensor, start: int) -> None:
        """Take the rows of normed states [tokens, hidden_size] whose logits are wanted."""
        if self.asked.logits is not None:
            first, last = self.asked.logits.first, self.asked.logits.last
            self._states.append(states[max(0, first - start) : max(0, last + 1 - start)])

    def hidden(self) -> dict[int, Tensor]:
        """By layer, float32 [number of positions, hidden_size] on the CPU, in the order asked for."""
        found = {}
        for layer, positions in self.asked.points.items():
            order = [self._places[layer][position] for position in positions]
            found[layer] = torch.cat(self._rows[layer])[order].to(torch.float32).cpu()
        return found

    def states(self) -> Tensor:
        """Normed states at the positions whose logits are wanted, in order."""
        return torch.cat(self._states)
