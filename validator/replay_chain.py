"""Holds epochs against the chain: the blocks of their challenges, the publisher's anchor and its weights."""

from bisect import bisect_right
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from shared.anchors import decode_anchor
from shared.chain import Block, Neuron
from validator.epoch_evidence import EpochRefused
from validator.epoch_summary import EpochSummary
from validator.replay_epoch import LoadedEpoch
from validator.replay_history import History
from validator.replay_report import CheckResult, fails, holds, unchecked


class ChainView(Protocol):
    """What a replay reads of the chain; see `shared.chain.Chain` for what these mean and raise."""

    async def neurons(self) -> list[Neuron]: ...

    async def blocks(self, numbers: Iterable[int]) -> dict[int, Block]: ...

    async def weights(self) -> dict[int, dict[int, int]]: ...

    async def commitments(self) -> dict[str, bytes]: ...

    async def close(self) -> None: ...


@dataclass(frozen=True)
class ChainFacts:
    """What stands on chain now."""

    neurons: Sequence[Neuron]
    weights: Mapping[int, Mapping[int, int]]
    commitments: Mapping[str, bytes]

    def neuron(self, hotkey: str) -> Neuron | None:
        """The neuron of a hotkey."""
        return next((one for one in self.neurons if one.hotkey == hotkey), None)


async def read_facts(chain: ChainView) -> ChainFacts:
    """Read the chain.

    Raises:
        ChainError: it can't be read.
    """
    return ChainFacts(await chain.neurons(), await chain.weights(), await chain.commitments())


def block_numbers(summary: EpochSummary) -> set[int]:
    """The blocks that `check_blocks` needs: those listed, and the ones right before them."""
    listed = {one.number for one in summary.challenge_blocks}
    return listed | {number - 1 for number in listed if number > 0} | {summary.block}


def check_blocks(epoch: LoadedEpoch, blocks: Mapping[int, Block]) -> str:
    """Challenge blocks are those of the chain, and no earlier block followed the answers drawn from them.

    Raises:
        EpochRefused: one is not.
    """
    summary = epoch.summary
    for one in summary.challenge_blocks:
        found = blocks[one.number]
        if (one.hash, one.timestamp_ms) != (found.hash, found.timestamp_ms):
            raise EpochRefused(
                "evidence",
                f"block {one.number} is {one.hash} of {one.timestamp_ms} in epoch {summary.epoch}, on chain "
                f"it is {found.hash} of {found.timestamp_ms}",
            )
    if summary.block_hash != blocks[summary.block].hash:
        raise EpochRefused("evidence", f"block {summary.block} has another hash on chain than was stated")
    if fault := _skipped(epoch, blocks):
        raise EpochRefused("evidence", fault)
    count = len(summary.challenge_blocks)
    return f"{count} challenge blocks have their numbers, hashes and times on chain, and none was skipped"


def _skipped(epoch: LoadedEpoch, blocks: Mapping[int, Block]) -> str:
    """Whether an answer was drawn from a later block than the first after it: another lot to choose from."""
    listed = sorted(epoch.summary.challenge_blocks, key=lambda block: block.number)
    for answer in epoch.inputs.requests:
        if answer.outcome != "answered" or not answer.output_tokens:
            continue
        place = bisect_right(listed, answer.finished_at_ms, key=lambda block: block.timestamp_ms)
        if place == len(listed) or listed[place].number == 0:
            continue
        before = blocks[listed[place].number - 1]
        if before.timestamp_ms > answer.finished_at_ms:
            return (
                f"{answer.request_id} was drawn from block {listed[place].number}, though block "
                f"{before.number} came after it already"
            )
    return ""


def check_anchor(history: History, facts: ChainFacts) -> CheckResult:
    """The publisher's newest commitment on chain is an epoch of this chain, the newest or the one before."""
    data = facts.commitments.get(history.publisher)
    anchor = decode_anchor(data) if data is not None else None
    if anchor is None:
        told = "no commitment" if data is None else "a commitment that is no anchor"
        return fails(
            "anchor", f"{history.publisher} has {told} on chain: nothing binds it to what it published"
        )
    newest = history.links[0].epoch
    link = history.link(anchor.epoch)
    if link is None:
        if anchor.epoch > newest:
            words = f"on chain stands epoch {anchor.epoch}, the newest published is {newest}"
            return fails("anchor", f"{words}: epochs were taken back, or this source is out of date")
        return unchecked(
            "anchor", f"on chain stands epoch {anchor.epoch}, which was not walked to: --epoch all does"
        )
    if (link.sha256, link.records_root) != (anchor.summary_digest, anchor.records_root):
        return fails("anchor", f"epoch {anchor.epoch} is published with another digest or root than on chain")
    behind = newest - anchor.epoch
    if behind > 1:
        return fails("anchor", f"on chain stands epoch {anchor.epoch}, {behind} before the newest, {newest}")
    words = f"on chain stands epoch {anchor.epoch} with this digest and Merkle root"
    return holds("anchor", words + (f"; epoch {newest} is still to follow" if behind else ""))


def check_chain_weights(publisher: str, recent: Sequence[EpochSummary], facts: ChainFacts) -> CheckResult:
    """The publisher's weights on chain are the newest epoch's, or the one's before it for a while.

    The chain keeps u16 weights scaled so that the largest is 65,535, which published ones already are.

    Args:
        recent: the newest summary and the one before it, newest first.
    """
    neuron = facts.neuron(publisher)
    if neuron is None:
        return fails("chain weights", f"{publisher} is not registered on the subnet")
    row = {uid: weight for uid, weight in facts.weights.get(neuron.uid, {}).items() if weight}
    stated = [(one.epoch, {each.uid: each.weight for each in one.weights}) for one in recent]
    earning = [(epoch, weights) for epoch, weights in stated if weights]
    for place, (epoch, weights) in enumerate(earning):
        if row == weights:
            later = f"; those of epoch {stated[0][0]} are still to be set" if place else ""
            return holds(
                "chain weights", f"uid {neuron.uid} has the {len(row)} weights of epoch {epoch}{later}"
            )
    if not earning:
        return unchecked("chain weights", f"nobody earned anything in epoch {stated[0][0]}, nothing is set")
    epoch, weights = earning[0]
    return fails("chain weights", f"uid {neuron.uid} has {_difference(row, weights, epoch)}")


def _difference(row: Mapping[int, int], weights: Mapping[int, int], epoch: int) -> str:
    if not row:
        return (
            f"no weights on chain, epoch {epoch} gives {len(weights)}; where they are committed first and "
            "revealed later, look again then"
        )
    uid = next(uid for uid in sorted({*row, *weights}) if row.get(uid, 0) != weights.get(uid, 0))
    return (
        f"{row.get(uid, 0)} for uid {uid} on chain, epoch {epoch} gives {weights.get(uid, 0)}, and it is not "
        "the epoch before it either"
    )


def check_publisher(publisher: str, facts: ChainFacts) -> list[str]:
    """What is wrong with who published, by the metagraph; nothing when it is a validator of the subnet."""
    neuron = facts.neuron(publisher)
    if neuron is None:
        return [f"{publisher} is not registered on the subnet"]
    return [] if neuron.validator_permit else [f"{publisher} has no validator permit on the subnet"]
