"""Whether what a miner opens is what its receipt committed to. Pure, and without the model."""

from collections.abc import Mapping, Sequence
from typing import Protocol

from shared.challenges import OpenAnswer
from shared.commitments import CommittedPoints, Opening, Point, leaf_bytes
from shared.errors import MalformedMessage
from shared.merkle import path_leads_to_root
from shared.receipts import Receipt
from validator.findings import Finding, failed
from validator.receipt_verification import committed_points


class TokensAt(Protocol):
    """The tokens of one choice, prompt and output, by position."""

    def __getitem__(self, position: int, /) -> int: ...


def check_openings(
    receipt: Receipt,
    asked: Sequence[Point],
    answer: OpenAnswer,
    token_ids: Mapping[int, TokensAt],
) -> Finding | list[Opening]:
    """The openings in the order asked, each proven to be what the receipt committed to.

    Args:
        token_ids: prompt and output ids of each choice, by choice index.
    """
    given = {Point(opened.choice, opened.position, opened.layer): opened for opened in answer.openings}
    if len(given) != len(answer.openings) or not set(given) <= set(asked):
        return failed("opening", "the answer opens points twice, or points that were not asked for")
    committed = committed_points(receipt)
    openings = []
    for point in asked:
        if point not in given:
            return failed("opening", f"the committed point at {words_of(point)} was not opened")
        try:
            opening = given[point].opening()
        except MalformedMessage as error:
            return failed("opening", f"the opening at {words_of(point)} is malformed: {error}")
        finding = _check_opening(receipt, committed, opening, token_ids[point.choice][point.position])
        if finding is not None:
            return finding
        openings.append(opening)
    return openings


def words_of(point: Point) -> str:
    """The point in words."""
    return f"choice {point.choice}, position {point.position}, layer {point.layer}"


def _check_opening(
    receipt: Receipt, committed: CommittedPoints, opening: Opening, token_id: int
) -> Finding | None:
    place = words_of(opening.point)
    if opening.token_id != token_id:
        words = f"the opening at {place} names token {opening.token_id}, the answer had {token_id} there"
        return failed("opening", words)
    number = committed.leaf_number(opening.point)
    assert number is not None, "points are drawn from the committed ones"
    try:
        leaf = leaf_bytes(opening.point, opening.token_id, opening.sketch)
    except ValueError as error:
        return failed("opening", f"the opening at {place} is malformed: {error}")
    root = bytes.fromhex(receipt.merkle_root)
    if not path_leads_to_root(leaf, number, receipt.leaves, opening.path, root):
        return failed("opening", f"the opening at {place} is not what the receipt committed to")
    return None
