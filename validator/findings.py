"""What a check of an audit finds, when it decides."""

from dataclasses import dataclass

from validator.verdicts import Check, VerdictOutcome


@dataclass(frozen=True)
class Finding:
    """What decides an audit: an outcome, the check that decided, and the reason in words."""

    outcome: VerdictOutcome
    check: Check
    reason: str


def failed(check: Check, reason: str) -> Finding:
    """A finding that the miner is to blame for."""
    return Finding("fail", check, reason)


def inconclusive(check: Check, reason: str) -> Finding:
    """A finding that nobody is to blame for, or that the auditor's own side is."""
    return Finding("inconclusive", check, reason)
