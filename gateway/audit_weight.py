"""What a miner's audits weigh in routing."""

from typing import Protocol

from gateway.standings import AuditStanding

VIRTUAL_PASSES = 2
"""Audits that count as passed before the first one (`ScoringConfig.virtual_passes`)."""


class AuditStandings(Protocol):
    """Where hotkeys stand with the auditor (`gateway/standings.py`)."""

    def of(self, hotkey: str) -> AuditStanding | None:
        """None when nothing is known: the miner is new, not bad."""
        ...


def smoothed_pass_rate(standing: AuditStanding) -> float:
    """Of a miner's audits, as scores take it: with two passes added (`ScoringConfig.virtual_passes`)."""
    return (standing.passes + VIRTUAL_PASSES) / (standing.audits + VIRTUAL_PASSES)
