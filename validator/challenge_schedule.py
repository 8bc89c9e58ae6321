"""Which requests of an epoch are audited: decided by their draws and by how earlier audits ended."""

from collections.abc import Iterable, Sequence
from itertools import groupby

from validator.request_state import DrawnRequest


def fill_up(requests: Iterable[DrawnRequest], minimum: int) -> list[DrawnRequest]:
    """The audits that a closing epoch still lacks, over all its drawn requests.

    Each miner gets at least `minimum` audits that end in pass or fail, smallest draws first. An inconclusive
    one is made up for by the next draw, so nobody hides behind audits that decide nothing. Anyone can
    repeat this from the published draws and verdicts.
    """
    by_miner = sorted(requests, key=lambda one: (one.key[1], one.draw, one.key[0]))
    lacking: list[DrawnRequest] = []
    for _, own in groupby(by_miner, key=lambda one: one.key[1]):
        lacking += _lacking(list(own), minimum)
    return lacking


def _lacking(ranked: Sequence[DrawnRequest], minimum: int) -> list[DrawnRequest]:
    counted, lacking = 0, []
    for request in ranked:
        if counted >= minimum:
            break
        if request.outcome is None:
            lacking.append(request)
        if request.outcome != "inconclusive":
            counted += 1
    return lacking
