"""The patch in the engine's processes: requests that carry a claim keep the claimed prompt's positions."""

from collections.abc import Mapping

from localnet.cheating_miner.claims import Claim, ClaimedPositions
from miners.hidden_states import capture_store


class ClaimingStore(capture_store.CaptureStore):
    """The stock store, except for requests that carry a claim."""

    def begin(
        self, internal_id: str, prompt_tokens: int, cached_tokens: int, extra_args: Mapping[str, object]
    ) -> None:
        """Start to track a request; a claim decides which of its positions."""
        super().begin(internal_id, prompt_tokens, cached_tokens, extra_args)
        tracked, claim = self._tracked.get(internal_id), Claim.read(extra_args)
        if tracked is not None and tracked.name is not None and claim is not None:
            tracked.positions = ClaimedPositions(tracked.name, claim)


def use_claiming_store() -> None:
    """Put the store in the stock one's place, in a process that has not loaded the worker yet."""
    setattr(capture_store, "CaptureStore", ClaimingStore)  # noqa: B010  a class is no variable to the checker
