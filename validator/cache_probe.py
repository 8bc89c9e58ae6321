"""What a miner's prefix cache does, read from ordinary traffic: no request is sent for it.

Any request that begins with what its miner has served before is a probe. A probe of its own would be told
apart: its history would follow the miner more often than clients' do.

* **Ratio.** A continuation is a streamed answer at least half of whose prompt its miner had served before,
  64 tokens or more; a fresh one has served nothing of it. Times to the first token of both, ÷ the median of
  the miner's fresh ones of that prompt length, are compared: their ratio, and the Mann-Whitney p-value that
  continuations would be as much faster if the cache did nothing. Answers whose audit failed are left out:
  what is fast and wrong is no cache. The ratio enters the score in that continuations are compared with
  continuations of other miners (`validator/comparison.py`), and nowhere else.
* **Claims.** A receipt that claims a cached prefix leaves its positions out of the commitment. A claim of
  more than the miner was seen to serve is counted, and told to the miner. It costs nothing: other gateways'
  clients may have sent it, and what a false claim hides is bounded (`shared/committed_positions.py`).
"""

from collections.abc import Iterable, Sequence
from typing import Annotated

from pydantic import Field

from shared.identifiers import Message, Ss58
from validator.comparison import is_continuation, median, prompt_band
from validator.exact_tests import rank_sum_p_value
from validator.request_facts import RequestFacts
from validator.verdicts import Verdict

FEWEST_SAMPLES = 5
"""Continuations, and fresh prompts of the same lengths, from which on a ratio is stated: with five of each
the smallest p-value is 1 in 252."""

FEWEST_CLAIMS = 10
"""Claims from which on a miner is told of those that nothing explains."""


class CacheUse(Message):
    """One miner's epoch.

    Attributes:
        ratio: median time to the first token of continuations ÷ that of fresh prompts; None of too few.
        p_value: that the cache did nothing; None of too few.
        claims: receipts that claim a cached prefix, where it is known what was served.
        unexplained: those that claim more than this gateway has seen the miner serve.
    """

    hotkey: Ss58
    continuations: int
    fresh: int
    ratio: float | None
    p_value: Annotated[float, Field(ge=0, le=1)] | None
    claims: int
    unexplained: int


def cache_use(
    requests: Sequence[RequestFacts], verdicts: Sequence[Verdict], miners: Iterable[str]
) -> list[CacheUse]:
    """The use of caches by those of `miners` of whom anything can be said, by hotkey."""
    failed = {(one.request_id, one.miner_hotkey) for one in verdicts if one.outcome == "fail"}
    own: dict[str, list[RequestFacts]] = {hotkey: [] for hotkey in sorted(miners)}
    for one in sorted(requests, key=lambda one: one.key):
        known = one.known_prefix_tokens is not None and one.key not in failed
        if one.outcome == "answered" and known and one.miner_hotkey in own:
            own[one.miner_hotkey].append(one)
    return [_use(hotkey, answers) for hotkey, answers in own.items() if answers]


def _use(hotkey: str, answers: Sequence[RequestFacts]) -> CacheUse:
    usual = _usual_ms(answers)
    times = [
        (is_continuation(one), one.ttft_ms / usual[band])
        for one in answers
        if one.ttft_ms is not None and (band := prompt_band(one)) in usual and _is_either(one)
    ]
    continued, fresh = ([time for kind, time in times if kind is wanted] for wanted in (True, False))
    enough = min(len(continued), len(fresh)) >= FEWEST_SAMPLES
    claimed = [(_claim(one), one.known_prefix_tokens or 0) for one in answers if _claim(one)]
    return CacheUse(
        hotkey=hotkey,
        continuations=len(continued),
        fresh=len(fresh),
        ratio=(median(continued) or 0.0) / (median(fresh) or 1.0) if enough else None,
        p_value=rank_sum_p_value(continued, fresh) if enough else None,
        claims=len(claimed),
        unexplained=sum(claim > known for claim, known in claimed),
    )


def _is_either(answer: RequestFacts) -> bool:
    return is_continuation(answer) or answer.known_prefix_tokens == 0


def _usual_ms(answers: Sequence[RequestFacts]) -> dict[int, float]:
    """Median time to the first token of fresh prompts, by their length; lengths with a time above zero."""
    times: dict[int, list[float]] = {}
    for one in answers:
        if one.ttft_ms is not None and one.known_prefix_tokens == 0:
            times.setdefault(prompt_band(one), []).append(one.ttft_ms)
    return {band: usual for band, own in times.items() if (usual := median(own))}


def _claim(answer: RequestFacts) -> int:
    """Tokens of the first choice's prompt that the receipt says were cached."""
    return answer.receipt.choices[0].cached_tokens if answer.receipt and answer.receipt.choices else 0
