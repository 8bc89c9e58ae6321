"""Commitments that were made twice: two receipts with one Merkle root that can't both be honest.

Equal roots have equal leaves, and a leaf holds layer, position, token id and the sketch of a hidden state.
So two receipts of one root contradict each other when

* their requests' ids draw other positions, or
* their prompts are different and equally long: the last position of a prompt is always committed, and what
  is computed there depends on all of it.

One root over the same prompt, at the same positions, proves nothing: engines of one kind compute the same
bits. The copy is the answer that ended later: nobody copies what does not exist yet, so whoever was copied is
not harmed.
"""

from collections.abc import Iterable

from shared.commitments import CommittedPoints
from shared.identifiers import Hex32, Message, RequestId, Ss58
from shared.receipts import Receipt
from validator.request_facts import RequestFacts


class RepeatedCommitment(Message):
    """A copy, and the answer whose commitment it repeats."""

    merkle_root: Hex32
    request_id: RequestId
    hotkey: Ss58
    copied_request: RequestId
    copied_hotkey: Ss58


def repeated_commitments(requests: Iterable[RequestFacts]) -> list[RepeatedCommitment]:
    """All copies among the answers of an epoch, in order of time."""
    first: dict[str, tuple[RequestFacts, Receipt]] = {}
    found: list[RepeatedCommitment] = []
    for one in sorted(requests, key=lambda one: (one.finished_at_ms, one.key)):
        if one.outcome != "answered" or one.receipt is None or not one.receipt.leaves:
            continue
        original, receipt = first.setdefault(one.receipt.merkle_root, (one, one.receipt))
        if original is not one and _contradict(receipt, one.receipt):
            found.append(
                RepeatedCommitment(
                    merkle_root=one.receipt.merkle_root,
                    request_id=one.request_id,
                    hotkey=one.miner_hotkey,
                    copied_request=original.request_id,
                    copied_hotkey=original.miner_hotkey,
                )
            )
    return found


def _contradict(one: Receipt, other: Receipt) -> bool:
    """Whether two receipts of one root can't both be honest."""
    prompts = [
        {(choice.index, choice.prompt_tokens): choice.prompt_digest for choice in receipt.choices}
        for receipt in (one, other)
    ]
    both = prompts[0].keys() & prompts[1].keys()
    return _points(one) != _points(other) or any(prompts[0][key] != prompts[1][key] for key in both)


def _points(receipt: Receipt) -> object:
    shapes = [choice.shape() for choice in receipt.choices]
    return CommittedPoints(receipt.request_id, receipt.num_layers, shapes).points
