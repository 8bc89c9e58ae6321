"""What the auditor tells a miner about itself: how each audit ended, and what it did to its test."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel

from validator.audit_rate import audit_rate
from validator.probe_findings import ProbeFindings
from validator.scoring_config import ScoringConfig
from validator.sequential_test import Standing, Step, explanation, is_rejected, steps
from validator.verdicts import Verdict


@dataclass(frozen=True)
class EpochAudits:
    """One hotkey's verdicts of one epoch, and how far that epoch has come."""

    epoch: int
    phase: str
    verdicts: Sequence[Verdict]


def miner_status(
    hotkey: str, before: Standing, epochs: Sequence[EpochAudits], config: ScoringConfig
) -> dict[str, Any]:
    """The test of one hotkey over `epochs`, oldest first; `before` is where it stood before them.

    Of an epoch that is not sealed yet the verdicts may still become more.
    """
    told: list[dict[str, Any]] = []
    begun, standing = before, before
    for one in epochs:
        taken = steps(standing, one.verdicts, config)
        begun, standing = standing, taken[-1].after if taken else standing
        told.append({"epoch": one.epoch, "phase": one.phase, "audits": [_audit(step) for step in taken]})
    ended = [(one.outcome, one.log_e) for one in epochs[-1].verdicts] if epochs else []
    return {
        "hotkey": hotkey,
        "standing": standing.model_dump(mode="json"),
        "rejected": is_rejected(standing, config),
        "rejects_from": config.reject_log_evidence,
        "best_explanation": explanation(standing),
        "audit_rate": audit_rate(begun, ended, config),
        "epochs": told,
    }


def probe_status(hotkey: str, findings: ProbeFindings) -> dict[str, Any]:
    """What an epoch's probes found about one hotkey; None where they found nothing."""
    kinds: dict[str, BaseModel | None] = {
        "shared_machine": findings.machine_of(hotkey),
        "work": findings.work_of(hotkey),
        "concurrency": next((one for one in findings.concurrency if one.hotkey == hotkey), None),
        "cache_use": findings.cache_of(hotkey),
        "repeated_commitment": findings.copy_by(hotkey),
    }
    links = [one for one in findings.links if hotkey in (one.slowed, one.by)]
    return {
        "rounds": findings.rounds,
        "links": [one.model_dump(mode="json") for one in links],
    } | {name: one.model_dump(mode="json") if one else None for name, one in kinds.items()}


def _audit(step: Step) -> dict[str, Any]:
    verdict = step.verdict
    return {
        "request_id": verdict.request_id,
        "outcome": verdict.outcome,
        "check": verdict.check,
        "evidence": [one.model_dump(mode="json") for one in verdict.evidence],
        "log_e": verdict.log_e,
        "ratios": verdict.ratios,
        "counted": step.counted,
        "log_evidence_before": step.before.log_evidence,
        "log_evidence_after": step.after.log_evidence,
        "rejected": step.rejected,
        "explanation": step.words,
        "challenge_block": verdict.challenge_block,
        "audited_at_ms": verdict.audited_at_ms,
    }
