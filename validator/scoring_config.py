"""The numbers that audits and scores are made of; they are published with every epoch."""

from typing import Annotated

from pydantic import Field

from shared.identifiers import Message

Share = Annotated[float, Field(ge=0, le=1)]


class ScoringConfig(Message):
    """Constants of one network's scoring. An epoch's summary states the ones it was scored with."""

    base_share: Share = 0.40
    latency_share: Share = 0.20
    verification_share: Share = 0.40

    virtual_passes: Annotated[int, Field(ge=0)] = 2
    """Audits that count as passed before the first one: one bad audit of a newcomer is not half of all.
    After five real audits they are 2 of 7."""
    settled_audits: Annotated[int, Field(ge=1)] = 5
    """Audits from which on the pass rate is no longer called provisional."""
    history_epochs: Annotated[int, Field(ge=0)] = 12
    """Earlier epochs whose audits still count, by hotkey: five hours of 25-minute epochs."""

    reject_log_evidence: Annotated[float, Field(gt=0)] = 13.815510557964274
    """ln(10⁶): evidence at which the sequential test rejects a miner. An honest one is rejected at most
    once in 10⁶ audits on average (the bound on the average run length of Shin, Ramdas and Rinaldo 2024,
    "E-detectors"; for likelihood ratios Lorden 1971): less than once in 10⁴ epochs of `max_audits`."""
    supporting_audits: Annotated[int, Field(ge=1)] = 2
    """No fewer audits can reject: each counts at most its share of `reject_log_evidence`. A smaller e-value
    is an e-value too, so the bound above stays."""
    evidence_cap: Annotated[float, Field(ge=1)] = 2.0
    """Evidence rises no higher than so many times `reject_log_evidence`: a reformed miner is taken back after
    about 30 honest audits, which are worth −0.45 at the median (a p-value of ½ under the calibrator of
    Vovk and Wang 2021, e(p) = (1 − p + p ln p) ÷ (p ln² p))."""

    audit_rate_floor: Annotated[float, Field(ge=0.1, le=1)] = 0.10
    """Share of answers that is audited of a miner of the best standing."""
    trust_audits: Annotated[int, Field(ge=1)] = 25
    """Passed audits in a row that halve the distance of the audit rate to its floor: at the minimum of
    five an epoch, two hours."""
    min_audits: Annotated[int, Field(ge=1)] = 5
    """Audits of each miner in an epoch that end in pass or fail, where there are as many answers."""
    max_audits: Annotated[int, Field(ge=1)] = 100
    """Most audits of each miner in an epoch: what an epoch costs the auditor is bounded."""

    enough_fails: Annotated[int, Field(ge=1)] = 5
    """Failed audits of a miner after which no more are made in an epoch: if all failed, even the weakest have
    rejected it by then (5 × ln 29, one statistic of four at p = 10⁻⁴, is more than the limit), and a miner
    that answers no challenge can't keep the auditor waiting a hundred times."""

    virtual_answers: Annotated[int, Field(ge=0)] = 2
    """Answers that count as given before the first one, when failed requests are weighed."""
    speed_min_tokens: Annotated[int, Field(ge=1)] = 8
    """Answers with fewer output tokens say little about speed; they count only when there are no others."""
    ttft_softening_ms: Annotated[float, Field(gt=0)] = 50.0
    """Added to both sides when times to first token are compared: people don't feel smaller differences."""

    @property
    def audit_log_e_limit(self) -> float:
        """What one audit can add to the evidence at most."""
        return self.reject_log_evidence / self.supporting_audits
