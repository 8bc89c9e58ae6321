"""What one audit comes to: the verdict, and the challenge with its answers, from which it can be repeated."""

from dataclasses import dataclass

from validator.published_rows import ChallengeExchange
from validator.verdicts import Verdict


@dataclass(frozen=True)
class AuditReport:
    """`exchange` is None when the verdict was found without asking the miner anything."""

    verdict: Verdict
    exchange: ChallengeExchange | None = None
