"""What a check of an audit finds, when it decides."""

from dataclasses import dataclass

from validator.evidence import PROVEN_LOG_E
from validator.verdicts import Check, Evidence, VerdictOutcome


@dataclass(frozen=True)
class Finding:
    """What decides an audit: an outcome, the check that decided, and the reason in words.

    `log_e` is what it weighs in the miner's sequential test; `evidence` the statistics that it rests on,
    where they are not all that were measured of the audit.
    """

    outcome: VerdictOutcome
    check: Check
    reason: str
    log_e: float
    evidence: tuple[Evidence, ...] = ()


def failed(check: Check, reason: str, log_e: float = PROVEN_LOG_E) -> Finding:
    """A finding that the miner is to blame for."""
    return Finding("fail", check, reason, log_e)


def inconclusive(check: Check, reason: str) -> Finding:
    """A finding that nobody is to blame for, or that the auditor's own side is."""
    return Finding("inconclusive", check, reason, 0.0)
