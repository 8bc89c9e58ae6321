"""What a hotkey's audits are held against one by one: ways to cheat that go on from audit to audit.

A family is one explanation of what a miner does, the same in every audit: hidden states that are all
slightly wrong, tokens drawn at 0.1 below the request's temperature. In each audit it has a likelihood ratio
or another e-value, whose mean is at most 1 at an honest miner, and the sequential test multiplies them family
by family (`validator/sequential_test.py`): which of them is the right one is asked once a miner, not once an
audit. Where a request can't tell a family apart, or an audit compared nothing, it has no ratio, and nothing
changes; neither depends on what an honest miner's audit would have shown.
"""

import math
from collections.abc import Mapping

from shared.honest_noise import HonestMargins
from validator.alternative_names import NAMES
from validator.evidence import SHARES, e_value
from validator.token_evidence import MARGIN_NAMES, log_ratios
from validator.verdicts import Evidence, TokenCheck

STATES_SHARE, NAMED_SHARE, BY_MARGINS_SHARE = 0.25, 0.5, 0.25
"""How the weight of all families is divided among hidden states, other samplers and margins alone. A choice:
halving a weight costs ln 2 of evidence once, whatever the number of audits."""

WEIGHTS: Mapping[str, float] = {
    **{str(statistic): STATES_SHARE * share for statistic, share in SHARES.items()},
    **{name: NAMED_SHARE / len(NAMES) for name in NAMES},
    **{name: BY_MARGINS_SHARE / len(MARGIN_NAMES) for name in MARGIN_NAMES},
}
"""Every family there is, and its weight; they sum to 1."""

_STATES_WORDS: Mapping[str, str] = {
    "typical": "hidden states that are all slightly wrong",
    "mean": "hidden states that are wrong in places",
    "replay": "replayed vectors that are wrong",
}

LARGEST_RATIO = 1e9
"""More is not published: one audit never counts so much."""

RATIO_DIGITS = 6
"""Significant digits that are published: everybody goes on with the same bits."""


def family_words(family: str) -> str:
    """What the family says that a miner does, in words that fit after "best explained by"."""
    return _STATES_WORDS.get(family) or f"tokens drawn {family}"


def family_ratios(
    evidence: tuple[Evidence, ...], tokens: TokenCheck | None, honest: HonestMargins
) -> dict[str, float]:
    """Each family's e-value in one audit, in the order of `WEIGHTS`, as it is published."""
    found: dict[str, float] = {
        one.statistic: math.log(e_value(one.p_value)) for one in evidence if one.statistic in SHARES
    }
    if tokens is not None and any(one.statistic == "tokens" for one in evidence):
        found |= log_ratios(tokens, honest)
    return {name: _published(found[name]) for name in WEIGHTS if name in found}


def _published(log_ratio: float) -> float:
    ratio = math.exp(min(log_ratio, math.log(LARGEST_RATIO)))
    return float(f"{ratio:.{RATIO_DIGITS}g}")
