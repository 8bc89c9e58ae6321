"""The auditor's side of rounds: the secrets of epochs, and what a closing epoch says about its rounds."""

from dataclasses import replace

from validator.probe_rounds import COMMITTED_AHEAD, epoch_secret, secret_commitment
from validator.round_check import RoundEvidence, is_committed, sound_rounds
from validator.round_history import RoundHistory, RoundInputs
from validator.round_state import RoundState
from validator.scoring_config import ScoringConfig


class RoundBook:
    """Rounds of all epochs; `key` is what their secrets are made from."""

    def __init__(self, state: RoundState, key: bytes, config: ScoringConfig) -> None:
        self._state, self._key, self._config = state, key, config

    def secret(self, epoch: int) -> str:
        """What the rounds of an epoch are drawn with."""
        return epoch_secret(self._key, epoch)

    def close(self, epoch: int, evidence: RoundEvidence, history: RoundHistory) -> RoundInputs:
        """The rounds of an epoch, for good: none if its secret is not the one committed to. Blocks."""
        commitment = secret_commitment(self.secret(epoch + COMMITTED_AHEAD))
        inputs = RoundInputs(self.secret(epoch), commitment, (), history)
        if not is_committed(inputs):
            self._state.settle(epoch, ())
            return replace(inputs, secret=None)
        held = sound_rounds(self._state.of(epoch), self.secret(epoch), evidence, self._config)
        self._state.settle(epoch, held)
        return replace(inputs, rounds=held)
