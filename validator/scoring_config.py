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

    reject_log_evidence: Annotated[float, Field(gt=0)] = 14.508658
    """ln(2·10⁶), rounded up: evidence at which the sequential test rejects a miner. Its bettors' weights sum
    to 2, so an honest one is rejected at most once in 10⁶ audits on average (the bound on the average run
    length of Shin, Ramdas and Rinaldo 2024, "E-detectors"; for likelihood ratios Lorden 1971): less than once
    in 10⁴ epochs of `max_audits`."""
    audit_share: Annotated[float, Field(gt=0, lt=1)] = 0.75
    """Share of `reject_log_evidence` that one audit can add at most, so that no single one rejects. A smaller
    e-value is an e-value too, so the bound above stays. Two proven failures reject even with half a dozen
    passes between them, which count −ln 2 at worst."""
    supporting_audits: Annotated[int, Field(ge=1)] = 2
    """Decided audits of an epoch, all failed, that cost a miner the epoch though no test rejects it."""
    evidence_cap: Annotated[float, Field(ge=1)] = 1.25
    """Evidence rises no higher than so many times `reject_log_evidence`: a reformed miner is taken back after
    about ten honest audits, which are worth −0.3 to −0.5 each."""

    audit_rate_floor: Annotated[float, Field(ge=0.1, le=1)] = 0.10
    """Share of answers that is audited of a miner of the best standing."""
    trust_audits: Annotated[int, Field(ge=1)] = 25
    """Passed audits in a row that halve the distance of the audit rate to its floor: at the minimum of
    five an epoch, two hours."""
    min_audits: Annotated[int, Field(ge=1)] = 5
    """Audits of each miner in an epoch that end in pass or fail, where there are as many answers."""
    max_audits: Annotated[int, Field(ge=1)] = 100
    """Most audits of each miner in an epoch: what an epoch costs the auditor is bounded."""

    enough_fails: Annotated[int, Field(ge=1)] = 7
    """Failed audits of a miner after which no more are made in an epoch: if all failed, even the weakest have
    rejected it by then (one statistic at p = 10⁻⁴ counts ln 7.9 at least, `validator/evidence.py`), and a
    miner that answers no challenge can't keep the auditor waiting a hundred times."""

    virtual_answers: Annotated[int, Field(ge=0)] = 2
    """Answers that count as given before the first one, when failed requests are weighed."""
    client_share: Annotated[float, Field(ge=0, le=0.5)] = 0.025
    """Most that the answers of one client weigh in what is measured of a miner, where it has 40 clients or
    more; with fewer, each has one voice (`validator/client_voices.py`). One client that is answered from a
    cache makes its miner look no more than 1 % faster then (`bench.incentives`)."""
    speed_min_tokens: Annotated[int, Field(ge=1)] = 8
    """Answers with fewer output tokens say little about speed; they count only when there are no others."""
    ttft_softening_ms: Annotated[float, Field(gt=0)] = 50.0
    """Added to both sides when times to first token are compared: people don't feel smaller differences."""

    round_share: Share = 0.192
    """Share of blocks, one in 12 s, that are followed by a round of probes: 24 in a 25-minute epoch."""
    full_round_share: Share = 0.33
    """Share of rounds that ask every miner: seven or eight in an epoch; one epoch in 1,500 has none."""
    full_round_ms: Annotated[int, Field(ge=1, le=60_000)] = 24_000
    """How long such a round asks each miner again as soon as it has answered. An epoch's work of a miner that
    writes 80 tokens a second rests on some sixty answers then, which are an eighth of what one stream of it
    can write. They must be many in one round: of a queue only the first is served then."""
    work_window: Annotated[int, Field(ge=0)] = 11
    """Earlier epochs that are added to a miner's work, where their rates are like this one's: with it five
    hours, as of audits."""
    rate_band: Annotated[float, Field(ge=1)] = 1.15
    """Rates that are no farther apart are like each other: about three times as far as luck takes the rate of
    one epoch. When two machines become one under two hotkeys, each rate halves at once."""
    usual_margin: Annotated[float, Field(ge=1)] = 1.25
    """A miner is paid for what it does in full rounds, up to so many times what it usually does. Luck takes
    the two of an honest miner with few clients some 6 % apart (standard deviation, `bench.incentives`), and
    who hurries in rounds alone is no faster there than its machine."""
    wide_round_share: Share = 0.17
    wide_round_requests: Annotated[int, Field(ge=2, le=16)] = 3
    """So large a share of rounds asks so many requests of each member at once."""
    round_window: Annotated[int, Field(ge=1)] = 192
    """Newest rounds that are compared: eight epochs of them, about 48 that ask everybody, and of the others
    some 36 with each pair of miners and 36 with one of them alone."""
    round_min_tokens: Annotated[int, Field(ge=1)] = 16
    """An answer with fewer output tokens says nothing about speed in a round."""
    probe_family_alpha: Annotated[float, Field(gt=0, lt=1)] = 1e-4
    """Chance that any honest miner is found to share a machine in an epoch, all together (Bonferroni)."""

    @property
    def audit_log_e_limit(self) -> float:
        """What one audit can add to the evidence at most."""
        return self.reject_log_evidence * self.audit_share
