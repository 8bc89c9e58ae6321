"""Refusals whose client's request may still be answered by another miner, in the epoch after.

A refusal counts against a miner when another one answers the same client's request. The gateway tries another
miner at once, but the answer may be recorded in the next epoch; so refusals that nobody has made up for are
published at the end of an epoch and belong to what the next one is scored by. They are carried once, since
an epoch lasts longer than an answer can take.
"""

from collections.abc import Iterable, Mapping, Sequence
from itertools import groupby
from operator import attrgetter

from shared.identifiers import ClientName, Message, RequestId, Ss58
from validator.request_facts import RequestFacts

ANSWERED_WITHIN_MS = 700_000
"""After a refusal no answer comes later: the gateway begins no attempt 90 s after the request came
(`gateway/dispatch.py`) and ends each after 600 s (its `--answer-timeout-s`)."""

MOST_OF_A_MINER = 256
"""Refusals of one miner that are carried, the latest: what a flood of bad requests adds to a summary is
bounded. In the seconds that an answer takes, far fewer are refused."""


class OpenRefusal(Message):
    """One miner's refusal of one client's request that no other miner had answered yet."""

    client_request: RequestId
    miner_hotkey: Ss58
    client: ClientName | None = None
    """As the epoch of the refusal names it."""


def open_refusals(requests: Iterable[RequestFacts]) -> tuple[OpenRefusal, ...]:
    """What the epoch after starts with, by (hotkey, client's request); of each miner the latest."""
    attempts = list(requests)
    since_ms = max((one.finished_at_ms for one in attempts), default=0) - ANSWERED_WITHIN_MS
    answered = {one.serves for one in attempts if one.outcome == "answered"}
    refused = [
        one
        for one in attempts
        if one.outcome == "refused" and one.serves not in answered and one.finished_at_ms > since_ms
    ]
    refused.sort(key=lambda one: (one.miner_hotkey, -one.finished_at_ms, one.serves))
    carried = {
        (hotkey, one.serves): one.client
        for hotkey, own in groupby(refused, key=attrgetter("miner_hotkey"))
        for one in list(own)[:MOST_OF_A_MINER]
    }
    return tuple(
        OpenRefusal(client_request=serves, miner_hotkey=hotkey, client=carried[hotkey, serves])
        for hotkey, serves in sorted(carried)
    )


def made_up_for(
    carried: Sequence[OpenRefusal], requests: Iterable[RequestFacts]
) -> Mapping[str, list[OpenRefusal]]:
    """By hotkey, the refusals carried over that another miner answered in this epoch."""
    answers: dict[str, set[str]] = {}
    for one in requests:
        if one.outcome == "answered":
            answers.setdefault(one.serves, set()).add(one.miner_hotkey)
    counted: dict[str, list[OpenRefusal]] = {}
    for refusal in carried:
        if answers.get(refusal.client_request, set()) - {refusal.miner_hotkey}:
            counted.setdefault(refusal.miner_hotkey, []).append(refusal)
    return counted
