"""What miners are paid for: how fast and how prompt they are with the auditor's own requests in rounds.

A client's requests may be a miner's own, answered from a cache. Those of rounds are not, and can't be told
from clients' when they come one at a time. So what counts is

    speed       the rate of work in full rounds (`validator/full_rounds.py`)
    promptness  the median over answers in rounds of 1 ÷ (time to the first token + 50 ms), ÷ the references
                of all answers of the same shape (`validator/comparison.py`); what was not answered in a
                round counts as a first token that never came

each up to `usual_margin` times the miner's usual one, which all its other answers (of promptness: all) say:
who is good in rounds alone is paid for what clients get. Figures are ÷ the best eligible miner's. While
nobody's work in rounds is known, answers of all requests are compared instead.
"""

from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet

from validator.comparison import Sample, compare, figures_over, polish, promptness_samples, speed_sample
from validator.measurement import MinerMeasures
from validator.probe_findings import ProbeFindings
from validator.request_facts import RequestFacts
from validator.scoring_config import ScoringConfig

FEWEST_PROMPT = 5
"""Streamed answers in rounds from which on they say how prompt a miner is."""


NEVER = 0.0
"""The promptness of what was not answered; of any shape, since nothing is known of it."""


def paid_rate(hotkey: str, probes: ProbeFindings, config: ScoringConfig) -> float:
    """The work that a miner is paid for, per time; 0 of one that did none or was not asked."""
    work = probes.work_of(hotkey)
    if work is None:
        return 0.0
    return work.rate if work.usual is None else min(work.rate, config.usual_margin * work.usual)


def throughputs(
    eligible: Sequence[MinerMeasures], probes: ProbeFindings, config: ScoringConfig
) -> dict[str, float]:
    """Each miner's speed, the best has 1."""
    if probes.work:
        return _shares({one.hotkey: paid_rate(one.hotkey, probes, config) for one in eligible})
    speeds = {miner.hotkey: [speed_sample(answer) for answer in miner.answers] for miner in eligible}
    return compare(speeds, config.client_share)


def latencies(
    eligible: Sequence[MinerMeasures], asked: AbstractSet[tuple[str, str]], config: ScoringConfig
) -> dict[str, float]:
    """Each miner's promptness, the best has 1; a miner with nothing to compare is left out.

    Args:
        asked: the keys of the requests that belong to rounds.
    """
    every = {miner.hotkey: _samples(miner.answers, config) for miner in eligible}
    if not asked:
        return compare(every, config.client_share)
    known = polish(every, 2, config.client_share)
    shape = next(iter(known.references), None)
    own = {
        miner.hotkey: _samples([one for one in miner.answers if one.key in asked], config)
        + [Sample(shape, NEVER, one.client) for one in miner.unanswered if one.key in asked and one.streamed]
        for miner in eligible
    }
    enough = {hotkey: samples for hotkey, samples in own.items() if len(samples) >= FEWEST_PROMPT}
    found = figures_over(enough, known.references, config.client_share)
    return _shares(
        {
            hotkey: min(found.get(hotkey, usual), config.usual_margin * usual)
            for hotkey, usual in known.figures.items()
        }
    )


def _samples(answers: Sequence[RequestFacts], config: ScoringConfig) -> list[Sample]:
    return promptness_samples(answers, config.ttft_softening_ms)


def _shares(figures: Mapping[str, float]) -> dict[str, float]:
    best = max(figures.values(), default=0.0)
    return {hotkey: figure / best if best else 0.0 for hotkey, figure in figures.items()}
