"""A prompt that is computed, and the one that is claimed: which positions of the first pass for the second's.

A miner that changed the prompt shows the one that the auditor expects. Its commitment then has to hold a
sketch for every position of the claimed prompt, so the engine keeps those of the positions that correspond:
the same ones up to where the prompts part, and from there on those as far from the end.

Imports nothing heavy: the engine's processes load it before vLLM.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from miners.hidden_states.request_names import ChoiceName
from shared.committed_positions import CommittedPositions

_ARGUMENTS = ("claimed_prompt_tokens", "claimed_shared", "claimed_shift")
"""Keys of `SamplingParams.extra_args` (`vllm_xargs` in a request's body)."""


@dataclass(frozen=True)
class Claim:
    """Positions of a claimed prompt in the computed one.

    Attributes:
        prompt_tokens: length of the claimed prompt.
        shared: leading positions that both prompts share.
        shift: how many tokens longer the computed prompt is.
    """

    prompt_tokens: int
    shared: int
    shift: int

    @classmethod
    def between(cls, claimed: Sequence[int], computed: Sequence[int]) -> "Claim":
        """The claim of one prompt while another is computed.

        The last positions always correspond, however long the common start is: no cache ever covers them.
        """
        longest = min(len(claimed), len(computed)) - 1
        shared = next((i for i in range(longest) if claimed[i] != computed[i]), longest)
        return cls(len(claimed), shared, len(computed) - len(claimed))

    @classmethod
    def read(cls, arguments: Mapping[str, object]) -> "Claim | None":
        """The claim in a request's extra arguments, or None."""
        values = [arguments.get(name) for name in _ARGUMENTS]
        numbers = [value for value in values if isinstance(value, int)]
        return cls(*numbers) if len(numbers) == len(_ARGUMENTS) else None

    def arguments(self) -> dict[str, int]:
        """The claim as extra arguments."""
        values = (self.prompt_tokens, self.shared, self.shift)
        return dict(zip(_ARGUMENTS, values, strict=True))

    def computed(self, position: int) -> int:
        """The computed position that stands for a claimed one; never falls as `position` rises."""
        if position < self.shared:
            return position
        return max(position + self.shift, self.shared - 1, 0)

    def cached(self, computed_cached: int) -> int:
        """Leading claimed positions that a cached computed prefix covers."""
        positions = range(self.prompt_tokens)
        return next(position for position in positions if self.computed(position) >= computed_cached)


class ClaimedPositions(CommittedPositions):
    """Computed positions to keep, so that the claimed prompt's committed ones are covered."""

    def __init__(self, name: ChoiceName, claim: Claim) -> None:
        super().__init__(name.request_id, name.choice, claim.prompt_tokens)
        self._claim = claim

    def within(self, start: int, stop: int) -> list[int]:
        """Computed positions p with start <= p < stop, ascending."""
        shift = self._claim.shift
        claimed = super().within(max(0, min(start, start - shift)), max(stop, stop - shift))
        kept = {self._claim.computed(position) for position in claimed}
        return sorted(position for position in kept if start <= position < stop)
