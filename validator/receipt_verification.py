"""Checks of what a miner stated when it answered: its receipt against the record and the prompt.

Pure functions: a check returns a `Finding` when it decides the audit and None when it holds. Nothing that a
miner sends makes anything here raise.
"""

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING

from shared.canonical import sha256_hex, token_ids_digest
from shared.commitments import CommittedPoints
from shared.errors import MalformedMessage, SignatureMismatch
from shared.receipts import ChoiceReceipt, Receipt, check_receipt, parse_receipt
from shared.records import ChoiceRecord, RequestRecord
from validator.findings import Finding, failed, inconclusive

if TYPE_CHECKING:
    from shared.calibration import Calibration


def read_receipt(record: RequestRecord) -> Receipt | Finding:
    """The record's receipt, signed by the hotkey that the request was sent to."""
    if record.receipt is None:
        return failed("receipt", "the answer carried no receipt; serve with this project's miner")
    try:
        receipt = parse_receipt(json.dumps(record.receipt))
        check_receipt(receipt)
    except (MalformedMessage, SignatureMismatch) as error:
        return failed("receipt", str(error))
    if receipt.hotkey != record.miner_hotkey:
        words = f"the receipt is by {receipt.hotkey}, the request went to {record.miner_hotkey}"
        return failed("receipt", words)
    return receipt


def check_statement(
    receipt: Receipt, record: RequestRecord, model: str, calibration: "Calibration"
) -> Finding | None:
    """Whether the receipt is about this request, this model (by its public name) and this calibration."""
    stated = (
        ("request id", receipt.request_id, record.request_id),
        ("digest of the request", receipt.request_digest, sha256_hex(record.request_body.encode())),
        ("model", receipt.model, model),
        ("number of layers", receipt.num_layers, calibration.header.num_layers),
        ("calibration digest", receipt.calibration_digest, calibration.digest),
    )
    for name, found, expected in stated:
        if found != expected:
            return failed("receipt", f"the receipt's {name} is {found!r}, it should be {expected!r}")
    return None


def check_lengths(receipt: Receipt, record: RequestRecord) -> Finding | None:
    """Whether the receipt's choices are those that the gateway saw, and their points those committed."""
    stated = [choice.index for choice in receipt.choices]
    seen = [choice.index for choice in record.choices]
    if sorted(stated) != sorted(seen) or len(set(stated)) != len(stated):
        return failed("receipt", f"the receipt names choices {stated}, the answer had {seen}")
    recorded = {choice.index: choice for choice in record.choices}
    for choice in receipt.choices:
        finding = _check_choice(choice, recorded[choice.index])
        if finding is not None:
            return finding
    points = committed_points(receipt)
    if receipt.leaves != len(points):
        words = f"the receipt commits to {receipt.leaves} points, these lengths ask for {len(points)}"
        return failed("receipt", words)
    return None


def _check_choice(choice: ChoiceReceipt, seen: ChoiceRecord) -> Finding | None:
    counts = (
        ("prompt", choice.prompt_tokens, len(seen.prompt_token_ids)),
        ("output", choice.output_tokens, len(seen.output_token_ids)),
    )
    for part, stated, found in counts:
        if stated != found:
            words = (
                f"choice {choice.index}: the receipt counts {stated} {part} tokens, the answer had {found}"
            )
            return failed("receipt", words)
    if choice.cached_tokens >= choice.prompt_tokens:
        words = f"choice {choice.index}: {choice.cached_tokens} of {choice.prompt_tokens} prompt tokens"
        return failed("receipt", f"{words} are said to come from the cache; the last is always computed")
    if choice.output_digest != _digest(seen.output_token_ids):
        return failed("receipt", f"choice {choice.index}: the receipt is about other output tokens")
    return None


def _digest(token_ids: Sequence[int]) -> str | None:
    try:
        return token_ids_digest(token_ids)
    except ValueError:
        return None


def check_prompts(
    receipt: Receipt, record: RequestRecord, prompts: Sequence[Sequence[int]]
) -> Finding | None:
    """Whether the miner's prompt tokens are those that the auditor renders.

    Args:
        prompts: the auditor's own prompt token ids by choice index.
    """
    if len(record.choices) != len(prompts):
        words = f"the answer has {len(record.choices)} choices, {len(prompts)} were asked for"
        return failed("prompt", words)
    stated = {choice.index: choice.prompt_digest for choice in receipt.choices}
    seen = {choice.index: choice.prompt_token_ids for choice in record.choices}
    for index, prompt in enumerate(prompts):
        if index not in seen:
            return failed("prompt", f"the answer lacks choice {index}")
        if tuple(prompt) != seen[index] or stated[index] != _digest(prompt):
            return failed("prompt", _prompt_words(index, prompt, seen[index]))
    return None


def check_vocabulary(record: RequestRecord, vocabulary_size: int) -> Finding | None:
    """Whether the model has every token, so that the reference can compute with it."""
    for choice in record.choices:
        if _foreign(choice.prompt_token_ids, vocabulary_size):
            return inconclusive("request", "the client's prompt holds token ids that the model does not have")
        foreign = _foreign(choice.output_token_ids, vocabulary_size)
        if foreign:
            words = f"choice {choice.index} emits token {foreign[0]}, the model has {vocabulary_size} tokens"
            return failed("receipt", words)
    return None


def _foreign(token_ids: Sequence[int], vocabulary_size: int) -> list[int]:
    return [token for token in token_ids if not 0 <= token < vocabulary_size]


def _prompt_words(index: int, expected: Sequence[int], seen: Sequence[int]) -> str:
    pairs = enumerate(zip(expected, seen, strict=False))
    first = next((place for place, (ours, theirs) in pairs if ours != theirs), None)
    where = "in length" if first is None else f"from token {first}"
    return (
        f"choice {index}: the prompt tokens differ from the request's own rendering {where} "
        f"({len(seen)} tokens, {len(expected)} expected); serve the model's unmodified chat template"
    )


def committed_points(receipt: Receipt) -> CommittedPoints:
    """Every committed point of a receipt whose lengths were checked, in leaf order."""
    shapes = [choice.shape() for choice in receipt.choices]
    return CommittedPoints(receipt.request_id, receipt.num_layers, shapes)
