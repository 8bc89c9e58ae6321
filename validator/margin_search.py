"""The margins of tokens that the reference would not draw: how far its logits would have to move.

Searched by halving, for many rows at once; what has to hold at one ε is in `_Search.possible`.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from validator.kept_tokens import Floors, KeptBoundary
from validator.logit_processing import MASKED, Penalties
from validator.sampling_rules import SamplingRule

MARGIN_CAP = 64.0
"""No margin is above it; a token that can't be drawn has it. Logits of language models span less."""

_HALVINGS = 14
"""A margin is found to 2⁻¹⁴ of what beating every rival would take."""


@dataclass(frozen=True)
class ScoredTokens:
    """Single tokens, and what their scores follow from: float32 [n] each.

    Attributes:
        logits: processed, before temperature.
    """

    logits: Tensor
    noise: Tensor
    penalties: Penalties

    def scores(self, temperature: float, shift: Tensor) -> Tensor:
        """Logit / temperature + noise, had the model's own logits been larger by `shift`."""
        return self.penalties.shifted(self.logits, shift) / temperature + self.noise

    def at(self, chosen: Tensor) -> "ScoredTokens":
        """Some of them, by mask or index."""
        penalties = Penalties(self.penalties.factor[chosen], self.penalties.reduction[chosen])
        return ScoredTokens(self.logits[chosen], self.noise[chosen], penalties)

    @staticmethod
    def joined(parts: "Sequence[ScoredTokens]") -> "ScoredTokens":
        """Several groups, one after the other."""
        penalties = Penalties(
            torch.cat([part.penalties.factor for part in parts]),
            torch.cat([part.penalties.reduction for part in parts]),
        )
        logits = torch.cat([part.logits for part in parts])
        return ScoredTokens(logits, torch.cat([part.noise for part in parts]), penalties)


@dataclass(frozen=True)
class Undecided:
    """Rows whose tokens the reference would not draw.

    Attributes:
        outputs: which outputs they are, int64 [rows].
        logits: processed, float32 [rows, vocabulary_size]; [rows, 0] without top-p, which alone needs them.
        emitted: the tokens that were emitted, one a row.
        rival_rows: the row of each rival.
        rivals: tokens that score higher than the emitted one of their row.
    """

    outputs: Tensor
    logits: Tensor
    floors: Floors
    emitted: ScoredTokens
    rival_rows: Tensor
    rivals: ScoredTokens

    def only(self, chosen: Tensor) -> "Undecided":
        """Those rows, by mask [rows]."""
        numbers = chosen.cumsum(dim=0) - 1
        own = chosen[self.rival_rows]
        return Undecided(
            outputs=self.outputs[chosen],
            logits=self.logits[chosen],
            floors=self.floors.at(chosen),
            emitted=self.emitted.at(chosen),
            rival_rows=numbers[self.rival_rows[own]],
            rivals=self.rivals.at(own),
        )

    @staticmethod
    def joined(parts: "Sequence[Undecided]") -> "Undecided":
        """Several groups of rows, one after the other."""
        rival_rows, before = [], 0
        for part in parts:
            rival_rows.append(part.rival_rows + before)
            before += len(part.outputs)
        return Undecided(
            outputs=torch.cat([part.outputs for part in parts]),
            logits=torch.cat([part.logits for part in parts]),
            floors=Floors.joined([part.floors for part in parts]),
            emitted=ScoredTokens.joined([part.emitted for part in parts]),
            rival_rows=torch.cat(rival_rows),
            rivals=ScoredTokens.joined([part.rivals for part in parts]),
        )


def search_margins(undecided: Undecided, rule: SamplingRule, steepest: float) -> Tensor:
    """The margins of the rows, float32 [rows].

    Args:
        steepest: the most that a processed logit moves when the model's own moves by 1.
    """
    search = _Search(undecided, rule, steepest)
    above = search.enough()
    below = torch.zeros_like(above)
    for _ in range(_HALVINGS):
        middle = (above + below) / 2
        possible = search.possible(middle)
        above, below = torch.where(possible, middle, above), torch.where(possible, below, middle)
    return above.clamp_max(MARGIN_CAP)


class _Search:
    def __init__(self, undecided: Undecided, rule: SamplingRule, steepest: float) -> None:
        self._rows = undecided
        self._temperature = 1.0 if rule.greedy else rule.temperature
        self._steepest = steepest
        self._boundary = KeptBoundary(undecided.logits, undecided.floors, rule)

    def enough(self) -> Tensor:
        """An ε that suffices: it beats every rival and, if need be, makes the token's logit the largest."""
        rows = self._rows
        none = torch.zeros_like(rows.emitted.logits)
        own = rows.emitted.scores(self._temperature, none)
        gaps = rows.rivals.scores(self._temperature, none[rows.rival_rows]) - own[rows.rival_rows]
        widest = none.scatter_reduce(0, rows.rival_rows, gaps, "amax") * self._temperature
        lacking = (rows.floors.best - rows.emitted.logits).masked_fill(self._kept(none), 0.0)
        return torch.maximum(widest, lacking) * self._steepest / 2

    def possible(self, epsilon: Tensor) -> Tensor:
        """Whether each row's token could be the drawn one if logits changed by `epsilon`: bool [rows]."""
        rows = self._rows
        own = rows.emitted.scores(self._temperature, epsilon)
        theirs = rows.rivals.scores(self._temperature, -epsilon[rows.rival_rows])
        unbeaten = rows.rivals.logits.masked_fill(theirs <= own[rows.rival_rows], MASKED)
        hardest = torch.full_like(own, MASKED).scatter_reduce(0, rows.rival_rows, unbeaten, "amax")
        dropped = self._boundary.could_drop(hardest, epsilon * self._steepest)
        return self._kept(epsilon) & ((hardest == MASKED) | dropped)

    def _kept(self, epsilon: Tensor) -> Tensor:
        return self._boundary.could_keep(self._rows.emitted.logits, epsilon * self._steepest)
