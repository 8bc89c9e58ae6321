"""What the audit validator gets from outside, so that tests pass their own."""

from dataclasses import dataclass, field
from pathlib import Path

from shared.signing import Signer
from validator.audit_loop import Auditing
from validator.clock import Clock
from validator.leadership import LeaseTimes
from validator.scoring_config import ScoringConfig
from validator.weight_setter import WeightChain

SCORING = ScoringConfig()
"""What every auditor of the network scores with; a follower refuses an epoch that was scored otherwise."""


@dataclass(frozen=True)
class Pauses:
    """Seconds between two turns of each of the auditor's loops."""

    follow_s: float = 0.5
    step_s: float = 1.0
    weights_s: float = 3.0
    publish_s: float = 1.0
    anchor_s: float = 6.0
    leases_s: float = 10.0


@dataclass(frozen=True)
class Surroundings:
    """`model` is its public name."""

    signer: Signer
    chain: WeightChain
    auditor: Auditing
    model: str
    calibration: Path
    clock: Clock
    pauses: Pauses = Pauses()
    lease: LeaseTimes = field(default_factory=LeaseTimes)
