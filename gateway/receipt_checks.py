"""What a client can check of a gateway's answer about a request, without taking its word for anything."""

import json
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any

import orjson
from pydantic import Field, ValidationError

from gateway.client_request import miner_body, parse_client_request
from gateway.errors import ApiError
from gateway.published_epochs import MAX_SUMMARY_BYTES, signed_summary
from gateway.published_summary import EpochNumber, EpochRefused, FoundSummary, Read
from shared.anchors import Anchor
from shared.canonical import sha256_hex, token_ids_digest
from shared.errors import ConstantinopleError, SignatureMismatch
from shared.identifiers import Hex32, Ss58, Whole
from shared.merkle import path_leads_to_root
from shared.object_store import ObjectReader
from shared.receipts import Receipt, check_receipt, receipt_digest
from shared.request_facts import RequestFacts

MOST_EPOCHS_BACK = 2000
"""Summaries that are followed from the one on chain back to a request's own."""


class CheckFailed(ConstantinopleError):
    """Something that was told is not so; the message says what."""


class _Told(Read):
    """The part of the answer that is checked."""

    receipt: Receipt | None
    receipt_digest: Hex32 | None
    inclusion: dict[str, Any]
    audit: dict[str, Any]


class _Proof(Read):
    epoch: EpochNumber
    index: Whole
    size: Whole
    path: Annotated[tuple[Hex32, ...], Field(max_length=64)]
    root: Hex32
    summary_digest: Hex32
    publisher: Ss58
    record: RequestFacts


@dataclass(frozen=True)
class CheckedReceipt:
    """A receipt that its miner signed about the request; `proof` is None while no epoch lists it."""

    receipt: Receipt
    proof: _Proof | None
    inclusion: Mapping[str, Any]
    audit: Mapping[str, Any]


def checked_receipt(data: bytes, request_id: str) -> CheckedReceipt:
    """Read an answer of GET /v1/receipts/<id>, and check receipt and proof.

    Raises:
        CheckFailed: something does not hold.
    """
    told = _read(_Told, data)
    if told.receipt is None:
        raise CheckFailed("the gateway has no receipt of this request: its miner signed nothing")
    try:
        check_receipt(told.receipt)
    except SignatureMismatch as error:
        raise CheckFailed(f"the receipt is not signed by its miner: {error}") from None
    if told.receipt.request_id != request_id:
        raise CheckFailed(f"the receipt is about the request {told.receipt.request_id}")
    if told.receipt_digest != receipt_digest(told.receipt):
        raise CheckFailed("the receipt's digest is another one than is told")
    if told.inclusion.get("state") == "differs":
        raise CheckFailed(f"{told.inclusion.get('words')}")
    if told.inclusion.get("state") != "included":
        return CheckedReceipt(told.receipt, None, told.inclusion, told.audit)
    proof = _read(_Proof, orjson.dumps(told.inclusion))
    _check_proof(proof, told.receipt)
    return CheckedReceipt(told.receipt, proof, told.inclusion, told.audit)


def _check_proof(proof: _Proof, receipt: Receipt) -> None:
    if proof.record.receipt != receipt:
        raise CheckFailed("the published record has another receipt than the one that is told")
    path = [bytes.fromhex(sibling) for sibling in proof.path]
    if not path_leads_to_root(proof.record.leaf(), proof.index, proof.size, path, bytes.fromhex(proof.root)):
        raise CheckFailed("the path does not lead from the record to the root")


def check_summary(proof: _Proof, store: ObjectReader, publisher: str | None) -> FoundSummary:
    """Check that the epoch's summary, signed by its publisher, has the root.

    Raises:
        CheckFailed: it has not.
        StoreError: the store can't be read.
    """
    found = _summary(store, proof.epoch)
    if found.digest != proof.summary_digest:
        raise CheckFailed(f"the summary of epoch {proof.epoch} is another one than the gateway names")
    stated = (found.summary.records_root, found.summary.records, found.summary.publisher)
    if stated != (proof.root, proof.size, proof.publisher):
        raise CheckFailed(f"the summary of epoch {proof.epoch} does not state what the gateway says of it")
    if publisher not in (None, proof.publisher):
        raise CheckFailed(f"the summary is by {proof.publisher}, not by {publisher}")
    return found


def check_anchor(anchor: Anchor, proof: _Proof, store: ObjectReader) -> str:
    """Check that the commitment on chain covers the epoch; gives how, in words.

    Raises:
        CheckFailed: the chain says otherwise.
        StoreError: the store can't be read.
    """
    if anchor.epoch < proof.epoch:
        return f"epoch {anchor.epoch} is the newest on chain; epoch {proof.epoch} is not there yet"
    if anchor.epoch - proof.epoch > MOST_EPOCHS_BACK:
        return f"epoch {anchor.epoch} is on chain, too many epochs after {proof.epoch} to follow back"
    digest: str | None = anchor.summary_digest
    for number in range(anchor.epoch, proof.epoch, -1):
        found = _summary(store, number)
        if found.digest != digest:
            raise CheckFailed(f"the summary of epoch {number} is not the one that the chain leads to")
        digest = found.summary.previous_digest
    if digest != proof.summary_digest or (anchor.epoch == proof.epoch and anchor.records_root != proof.root):
        raise CheckFailed(f"the chain leads to another summary of epoch {proof.epoch}")
    return f"the commitment to epoch {anchor.epoch} covers it"


def check_answer(saved: bytes, receipt: Receipt) -> None:
    """Check that the token ids of a saved answer are those that the miner signed.

    Raises:
        CheckFailed: they are others, or the answer has none.
    """
    ids = _output_ids(saved)
    if not ids:
        raise CheckFailed(
            "the saved answer has no token_ids: ask with return_token_ids: true, or keep a stream's events"
        )
    signed = {choice.index: choice.output_digest for choice in receipt.choices}
    for index, tokens in ids.items():
        if token_ids_digest(tokens) != signed.get(index):
            raise CheckFailed(f"choice {index} of the saved answer has other tokens than the miner signed")


def _output_ids(saved: bytes) -> dict[int, list[int]]:
    """The output's token ids by choice, of a whole answer or of a stream's events."""
    ids = defaultdict[int, list[int]](list)
    text = saved.decode(errors="replace").strip()
    lines = text.splitlines() if text.startswith(("data:", "event:", ":")) else [f"data:{text}"]
    for line in lines:
        piece = line.removeprefix("data:").strip()
        if not line.startswith("data:") or piece == "[DONE]":
            continue
        try:
            for choice in json.loads(piece).get("choices", []):
                ids[int(choice["index"])] += [int(token) for token in choice.get("token_ids") or []]
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise CheckFailed(f"the saved answer is neither an answer nor a stream: {error!r}") from None
    return {index: tokens for index, tokens in ids.items() if tokens}


def check_request(saved: bytes, model: str, receipt: Receipt, path: str) -> None:
    """Check that the body of a request makes the one that the miner signed for.

    Args:
        model: what the gateway calls the model.
        path: under which the miner was asked, as the record says.

    Raises:
        CheckFailed: it does not.
    """
    try:
        request = parse_client_request(path, saved, model)
    except ApiError as error:
        raise CheckFailed(f"the saved request is not one: {error}") from None
    seed = receipt.seed if receipt.seed is not None else request.seed
    if seed is None or sha256_hex(miner_body(request, receipt.request_id, seed)) != receipt.request_digest:
        raise CheckFailed(
            "the saved request is not the one that the miner got; only chats and completions, as they were "
            "sent, can be compared"
        )


def _summary(store: ObjectReader, number: int) -> FoundSummary:
    try:
        return signed_summary(store.get(f"epochs/{number}.json", MAX_SUMMARY_BYTES), number, None)
    except EpochRefused as error:
        raise CheckFailed(str(error)) from None


def _read(kind: Any, data: bytes) -> Any:
    try:
        return kind.model_validate_json(data)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        place = ".".join(str(part) for part in first["loc"])
        raise CheckFailed(f"the gateway's answer is not what it should be: {place}: {first['msg']}") from None
