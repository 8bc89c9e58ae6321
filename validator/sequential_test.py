"""The sequential test of one hotkey: evidence from audit to audit, until it suffices or is used up.

A CUSUM over e-values (Page 1954; with e-values an e-detector, Shin, Ramdas and Rinaldo 2024). An audit's
e-value is at most 1 on average for an honest miner, whatever was drawn before, so evidence drifts down to
zero, where it stays; a cheat's drifts up, slowly for a slight cheat, and meets the limit:

    evidence ← min(cap × limit, max(0, evidence + min(log_e, share × limit)))

A miner is rejected while its evidence is at or above the limit. Additions and comparisons alone, in a
fixed order: the same verdicts give the same bits anywhere.

Within an epoch audits count in the order of their draws. Which answers are audited depends on verdicts, but
always on those of smaller draws (`validator/challenge_schedule.py`): in that order each audit's e-value has a
mean of at most 1 given all before it, which is what the bound on false rejections rests on.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Annotated

from pydantic import Field

from shared.identifiers import Message
from validator.challenge_selection import selection_draw
from validator.scoring_config import ScoringConfig
from validator.verdicts import Verdict

Tally = Annotated[int, Field(ge=0)]


class Standing(Message):
    """Where the test of one hotkey stands."""

    log_evidence: Annotated[float, Field(ge=0)]
    """Natural logarithm of the evidence that the miner cheats."""
    support: Tally
    """Audits that spoke against the miner since its evidence was last zero."""
    audits: Tally
    """Audits that ended in pass or fail, ever."""
    passes_in_a_row: Tally
    """Audits passed since the last failed one."""


NEWCOMER = Standing(log_evidence=0.0, support=0, audits=0, passes_in_a_row=0)


@dataclass(frozen=True)
class Step:
    """What one audit did to the evidence; `counted` is its `log_e` within the bound of one audit."""

    verdict: Verdict
    counted: float
    before: Standing
    after: Standing
    rejected: bool
    """Whether the test rejects the miner after this audit."""
    words: str


def is_rejected(standing: Standing, config: ScoringConfig) -> bool:
    """Whether the evidence suffices; it takes two audits at least, because none counts the whole limit."""
    return standing.log_evidence >= config.reject_log_evidence


def step(standing: Standing, verdict: Verdict, config: ScoringConfig) -> Step:
    """The test after one more audit. An inconclusive one changes nothing."""
    counted = 0.0 if verdict.outcome == "inconclusive" else min(verdict.log_e, config.audit_log_e_limit)
    after = standing if verdict.outcome == "inconclusive" else _add(standing, verdict, counted, config)
    rejected = is_rejected(after, config)
    words = _words(verdict, counted, standing, after, config)
    return Step(verdict, counted, standing, after, rejected, words)


def steps(standing: Standing, verdicts: Iterable[Verdict], config: ScoringConfig) -> tuple[Step, ...]:
    """The test over one hotkey's audits of an epoch, in the order of their draws."""
    taken: list[Step] = []
    for verdict in sorted(verdicts, key=_place):
        taken.append(step(standing, verdict, config))
        standing = taken[-1].after
    return tuple(taken)


def _place(verdict: Verdict) -> tuple[float, str, str]:
    return selection_draw(verdict.challenge_seed), verdict.request_id, verdict.miner_hotkey


def _add(standing: Standing, verdict: Verdict, counted: float, config: ScoringConfig) -> Standing:
    cap = config.evidence_cap * config.reject_log_evidence
    evidence = min(cap, max(0.0, standing.log_evidence + counted))
    return Standing(
        log_evidence=evidence,
        support=standing.support + (counted > 0) if evidence > 0 else 0,
        audits=standing.audits + 1,
        passes_in_a_row=standing.passes_in_a_row + 1 if verdict.outcome == "pass" else 0,
    )


def _words(verdict: Verdict, counted: float, before: Standing, after: Standing, config: ScoringConfig) -> str:
    if verdict.outcome == "inconclusive":
        return f"decided nothing ({verdict.reason}): the evidence stays {before.log_evidence:.2f}"
    limit = config.reject_log_evidence
    bound = ", the most that one audit counts" if counted < verdict.log_e else ""
    ended = "passed" if verdict.outcome == "pass" else f"failed: {verdict.reason}"
    change = f"it counts {counted:+.2f}{bound}; the evidence goes from {before.log_evidence:.2f} "
    result = f"to {after.log_evidence:.2f}, supported by {after.support} audits"
    state = "rejects" if is_rejected(after, config) else "does not reject"
    return f"{ended}; {change}{result}; the test {state} the miner (it rejects from {limit:.2f})"
