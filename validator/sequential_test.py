"""The sequential test of one hotkey: evidence from audit to audit, until it suffices or is used up.

Evidence is the wealth of bettors who bet against the miner's honesty (testing by betting: Shafer 2021;
Waudby-Smith and Ramdas 2024). One bets on audits as a whole, with each audit's e-value. Three bet on each
family of `validator/evidence_families.py`, with a share of 1/8, 1/2 or 7/8 at stake in every audit: a low
stake survives many passes of a miner that cheats seldom, a high one wins fast of one that always does.

    wealth   ← max(1, wealth) × min(1 − stake + stake × ratio, the most that one audit counts)
    evidence = ln(Σ over bettors whose wealth is above 1 of  weight × wealth), and never below 0

and while that is above the cap, all are scaled down to it. An audit's factor is at most 1 on average for an
honest miner, whatever came before, so each wealth is a CUSUM e-detector (Page 1954; Shin, Ramdas and Rinaldo
2024): at most the sum, over all audits, of the product of the factors since then, whose mean is at most the
number of audits. So is any weighted mean. Weights sum to 2, one for audits as a whole and one for all
families: until an honest miner is rejected it takes exp(limit) ÷ 2 audits on average at least.

Multiplications, additions and comparisons in a fixed order, and what takes a logarithm or a power is rounded
to a few digits: the same verdicts give the same bits anywhere.

Within an epoch audits count in the order of their draws. Which answers are audited depends on verdicts, but
always on those of smaller draws (`validator/challenge_schedule.py`): in that order each factor has a mean of
at most 1 given all before it, which is what the bound on false rejections rests on.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Annotated

from pydantic import Field, model_validator

from shared.identifiers import Message
from validator.challenge_selection import selection_draw
from validator.evidence_families import WEIGHTS, family_words
from validator.scoring_config import ScoringConfig
from validator.verdicts import Verdict

Tally = Annotated[int, Field(ge=0)]
Wealth = Annotated[float, Field(ge=1)]

WHOLE = "whole"
"""The bettor on audits as a whole, whose weight is 1; an audit's own e-value has its stake in it."""

STAKES = (0.125, 0.5, 0.875)
"""What a family's bettors put at stake; each has a third of the family's weight. With 1/8 a pass counts -0.13
at worst, with 7/8 -2.1, and of a ratio that is always the same all but ln(8/7) is won. A choice, even in
between: three cost ln 3 once."""

LARGEST_LOG = 230.0
"""Bound on the logarithm of all wealth, and of what one audit counts: products stay finite."""

EXPONENTIAL_DIGITS = 6
"""Significant digits to which exponentials are rounded. Processors may differ in the sixteenth."""

WEALTH_DIGITS = 9
"""Significant digits to which wealth is published, and goes on."""

EVIDENCE_DECIMALS = 6
"""Decimals to which the logarithm of all wealth is rounded."""


class Standing(Message):
    """Where the test of one hotkey stands."""

    log_evidence: Annotated[float, Field(ge=0)]
    """Natural logarithm of the evidence that the miner cheats."""
    support: Tally
    """Audits that raised the evidence since it was last zero."""
    audits: Tally
    """Audits that ended in pass or fail, ever."""
    passes_in_a_row: Tally
    """Audits passed since the last failed one."""
    wealth: Annotated[dict[str, tuple[Wealth, ...]], Field(max_length=len(WEIGHTS) + 1)] = Field(
        default_factory=dict
    )
    """By family: what its bettors have, one for each of STAKES; WHOLE has one bettor. Families of which none
    has more than 1 are left out."""

    @model_validator(mode="after")
    def _known(self) -> "Standing":
        for family, held in self.wealth.items():
            if family != WHOLE and family not in WEIGHTS:
                raise ValueError(f"there is no family {family!r}")
            if len(held) != (1 if family == WHOLE else len(STAKES)):
                raise ValueError(f"{len(held)} bettors bet on {family!r}")
        return self


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


def explanation(standing: Standing) -> str | None:
    """What explains the evidence best, in words; None when it is audits as a whole, or nothing."""
    shares = {family: _weighed(family, held) for family, held in sorted(standing.wealth.items())}
    best = max(shares, key=lambda family: shares[family], default=WHOLE)
    return None if best == WHOLE else family_words(best)


def step(standing: Standing, verdict: Verdict, config: ScoringConfig) -> Step:
    """The test after one more audit. An inconclusive one changes nothing."""
    counted, after = _counted(verdict, config), advance(standing, verdict, config)
    words = _words(verdict, counted, standing, after, config)
    return Step(verdict, counted, standing, after, is_rejected(after, config), words)


def steps(standing: Standing, verdicts: Iterable[Verdict], config: ScoringConfig) -> tuple[Step, ...]:
    """The test over one hotkey's audits of an epoch, in the order of their draws."""
    taken: list[Step] = []
    for verdict in sorted(verdicts, key=_place):
        taken.append(step(standing, verdict, config))
        standing = taken[-1].after
    return tuple(taken)


def advance(standing: Standing, verdict: Verdict, config: ScoringConfig) -> Standing:
    """Where the test stands after one more audit."""
    if verdict.outcome == "inconclusive":
        return standing
    wealth = _capped(_bet(standing.wealth, verdict, config), config)
    evidence = _log_evidence(wealth)
    raised = evidence > standing.log_evidence
    return Standing(
        log_evidence=evidence,
        support=standing.support + raised if evidence > 0 else 0,
        audits=standing.audits + 1,
        passes_in_a_row=standing.passes_in_a_row + 1 if verdict.outcome == "pass" else 0,
        wealth=wealth,
    )


def _place(verdict: Verdict) -> tuple[float, str, str]:
    return selection_draw(verdict.challenge_seed), verdict.request_id, verdict.miner_hotkey


def _counted(verdict: Verdict, config: ScoringConfig) -> float:
    return 0.0 if verdict.outcome == "inconclusive" else min(verdict.log_e, config.audit_log_e_limit)


WealthByFamily = dict[str, tuple[float, ...]]


def _bet(before: WealthByFamily, verdict: Verdict, config: ScoringConfig) -> WealthByFamily:
    most = _exponential(config.audit_log_e_limit)
    whole = _exponential(_counted(verdict, config))
    after = {WHOLE: tuple(max(1.0, one) * whole for one in before.get(WHOLE, (1.0,)))}
    for family in WEIGHTS:
        held, ratio = before.get(family), verdict.ratios.get(family)
        if ratio is not None and (held is not None or ratio > 1):
            factors = (min(most, 1 - stake + stake * ratio) for stake in STAKES)
            pairs = zip(held or (1.0,) * len(STAKES), factors, strict=True)
            after[family] = tuple(max(1.0, one) * factor for one, factor in pairs)
        elif held is not None:
            after[family] = held
    return _kept(after)


def _kept(wealth: WealthByFamily) -> WealthByFamily:
    """Rounded as it is published, without families that have nothing left."""
    rounded = {
        family: tuple(_digits(one, WEALTH_DIGITS) if one > 1 else 1.0 for one in held)
        for family, held in wealth.items()
    }
    return {family: held for family, held in rounded.items() if max(held) > 1}


def _capped(wealth: WealthByFamily, config: ScoringConfig) -> WealthByFamily:
    most = _exponential(config.evidence_cap * config.reject_log_evidence)
    total = _total(wealth)
    if total <= most:
        return wealth
    return _kept({family: tuple(one * (most / total) for one in held) for family, held in wealth.items()})


def _total(wealth: WealthByFamily) -> float:
    return sum(_weighed(family, held) for family, held in wealth.items())


def _weighed(family: str, held: tuple[float, ...]) -> float:
    """What a family's bettors add to the evidence: wealth that is used up adds nothing."""
    weight = 1.0 if family == WHOLE else WEIGHTS[family] / len(STAKES)
    return weight * sum(one for one in held if one > 1)


def _log_evidence(wealth: WealthByFamily) -> float:
    return round(math.log(max(1.0, _total(wealth))), EVIDENCE_DECIMALS)


def _exponential(logarithm: float) -> float:
    return _digits(math.exp(min(logarithm, LARGEST_LOG)), EXPONENTIAL_DIGITS)


def _digits(value: float, digits: int) -> float:
    return float(f"{value:.{digits}g}")


def _words(verdict: Verdict, counted: float, before: Standing, after: Standing, config: ScoringConfig) -> str:
    if verdict.outcome == "inconclusive":
        return f"decided nothing ({verdict.reason}): the evidence stays {before.log_evidence:.2f}"
    limit = config.reject_log_evidence
    bound = ", the most that one audit counts" if counted < verdict.log_e else ""
    ended = "passed" if verdict.outcome == "pass" else f"failed: {verdict.reason}"
    change = f"it counts {counted:+.2f}{bound}; the evidence goes from {before.log_evidence:.2f} "
    result = f"to {after.log_evidence:.2f}, supported by {after.support} audits"
    best = explanation(after) if after.log_evidence > 0 else None
    explained = f" and best explained by {best}" if best else ""
    state = "rejects" if is_rejected(after, config) else "does not reject"
    return f"{ended}; {change}{result}{explained}; the test {state} the miner (it rejects from {limit:.2f})"
