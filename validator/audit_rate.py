"""Which share of a miner's answers is audited: a pure function of what is published.

    rate       = floor + (1 − floor) × max(doubt, suspicion), and 1 once an audit of the epoch has failed
    doubt      = trust ÷ (trust + audits passed in a row before the epoch)
    suspicion  = (evidence before the epoch + largest log_e of the epoch) ÷ the limit, within [0, 1]

A newcomer and a rejected miner are at 1; every pass lowers the rate a little, towards the floor; every
doubt raises it. There is no step that a miner could time: whether an answer is audited is drawn after it was
given, and a failed audit raises the rate for all answers of the epoch, those given before it included.

Within an epoch the rate can only rise as verdicts come in. So what must be audited does not depend on the
order in which an auditor happens to work.
"""

from collections.abc import Iterable

from validator.scoring_config import ScoringConfig
from validator.sequential_test import Standing
from validator.verdicts import VerdictOutcome

Ended = tuple[VerdictOutcome, float]
"""How an audit ended: outcome and log_e."""


def audit_rate(standing: Standing, ended: Iterable[Ended], config: ScoringConfig) -> float:
    """The rate of one hotkey in an epoch, from its standing before it and the audits made in it."""
    conclusive = [(outcome, log_e) for outcome, log_e in ended if outcome != "inconclusive"]
    if any(outcome == "fail" for outcome, _ in conclusive):
        return 1.0
    doubt = config.trust_audits / (config.trust_audits + standing.passes_in_a_row)
    worst = max((log_e for _, log_e in conclusive), default=0.0)
    suspicion = (standing.log_evidence + max(0.0, worst)) / config.reject_log_evidence
    floor = config.audit_rate_floor
    return min(1.0, floor + (1 - floor) * max(doubt, suspicion))
