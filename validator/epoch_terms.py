"""What stays the same from epoch to epoch."""

from dataclasses import dataclass

from validator.scoring_config import ScoringConfig

JITTER_SHARE = 0.03
"""Epochs are longer or shorter by up to this share, so that nobody can time the last request."""

JITTERED_FROM_SECONDS = 300.0
"""Shorter epochs are for trying things out; they last as long as they say."""

MIN_GRACE_MS = 60_000
"""A closing epoch waits for its next audit at least so long, and at most half an epoch."""


@dataclass(frozen=True)
class EpochTerms:
    """Subnet, model, lengths and constants; `code_revision` is told in manifests."""

    netuid: int
    model: str
    calibration_sha256: str
    epoch_seconds: float
    scoring: ScoringConfig
    code_revision: str = "unknown"

    def length_ms(self, chance: float) -> int:
        """Length of an epoch; `chance` is uniform in [0, 1)."""
        jitter = JITTER_SHARE if self.epoch_seconds >= JITTERED_FROM_SECONDS else 0.0
        return round(self.epoch_seconds * 1000 * (1 + jitter * (2 * chance - 1)))

    @property
    def grace_ms(self) -> int:
        """How long a closing epoch waits for its next audit while the chain can be read."""
        return max(MIN_GRACE_MS, round(self.epoch_seconds * 500))
