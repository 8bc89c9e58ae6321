"""How reliable miners are: what share of what they were asked they answered.

    reliability = (answered + 2) ÷ (answered + failed + 2)

A refusal is the client's fault unless another miner answered the same request, in this epoch or the next. One
client's answers weigh no more than its share (`validator/client_voices.py`), so that a flood of them dilutes
no failures; failures count in full.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from validator.client_voices import by_client, counted
from validator.open_refusals import OpenRefusal, made_up_for
from validator.request_facts import RequestFacts
from validator.scoring_config import ScoringConfig


@dataclass(frozen=True)
class Reliability:
    """What a miner answered in an epoch.

    Attributes:
        failed: transport failures, and refusals of requests that another miner answered, `late` ones of the
            epoch before among them.
        share: of what it was asked, from 0 to 1: what the score is multiplied by.
    """

    answered: int
    failed: int
    late: int
    share: float


UNASKED = Reliability(0, 0, 0, 1.0)


def reliabilities(
    requests: Iterable[RequestFacts], refusals: Sequence[OpenRefusal], config: ScoringConfig
) -> Mapping[str, Reliability]:
    """Of every hotkey that was sent one of an epoch's requests, or whose refusal counts in it.

    Args:
        refusals: those that the epoch before left open.
    """
    attempts = list(requests)
    answered = {one.serves for one in attempts if one.outcome == "answered"}
    late = made_up_for(refusals, attempts)
    own: dict[str, list[RequestFacts]] = {hotkey: [] for hotkey in late}
    for one in attempts:
        own.setdefault(one.miner_hotkey, []).append(one)
    return {
        hotkey: _reliability(made, answered, late.get(hotkey, ()), config) for hotkey, made in own.items()
    }


def _reliability(
    made: Sequence[RequestFacts],
    answered_requests: set[str],
    late: Sequence[OpenRefusal],
    config: ScoringConfig,
) -> Reliability:
    answered = [(one.client, False) for one in made if one.outcome == "answered"]
    failed = [(one.client, True) for one in made if _is_failure(one, answered_requests)]
    failed += [(one.client, True) for one in late]
    weight = max(len(failed), counted(by_client([*answered, *failed]), config.client_share))
    asked = len(answered) + len(failed) + config.virtual_answers
    share = (asked - weight) / asked if asked else UNASKED.share
    return Reliability(len(answered), len(failed), len(late), share)


def _is_failure(request: RequestFacts, answered_requests: set[str]) -> bool:
    return request.outcome == "failed" or (
        request.outcome == "refused" and request.serves in answered_requests
    )
