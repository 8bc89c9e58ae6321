"""Makes a response's commitment and receipt from its token ids and what the engine captured."""

import asyncio
import logging
from array import array
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from miners.commitment_store import CommitmentStore
from miners.completion_request import CompletionRequest
from miners.errors import CaptureMismatch
from miners.hidden_states.engine_capture import CapturedChoice
from miners.response_tokens import ResponseTokens
from shared.canonical import token_ids_digest
from shared.commitments import ChoiceShape, Commitment
from shared.receipts import ChoiceReceipt, Receipt, ReceiptBody, sign_receipt
from shared.sampling_noise import SAMPLER
from shared.signing import Signer
from shared.sketches import SKETCH_BYTES

log = logging.getLogger(__name__)


class Captures(Protocol):
    """The part of `EngineCapture` that serving needs."""

    async def collect(self, request_id: str) -> list[CapturedChoice]: ...

    async def discard(self, request_id: str) -> None: ...


@dataclass(frozen=True)
class MinerIdentity:
    """What every receipt of this miner says alike."""

    hotkey: str
    model: str
    num_layers: int
    hidden_size: int
    calibration_digest: str


@dataclass(frozen=True)
class ResponseTimes:
    """Unix milliseconds by this machine's clock."""

    received_at_ms: int
    first_token_at_ms: int | None
    finished_at_ms: int


def commitment_of(
    request_id: str, num_layers: int, tokens: ResponseTokens, captured: Sequence[CapturedChoice]
) -> Commitment:
    """The commitment over what was captured, cut to the positions that a receipt of these lengths covers.

    Raises:
        CaptureMismatch: a choice or a position is missing, or is one that the receipt does not cover.
    """
    if not tokens.output or set(tokens.output) != set(tokens.prompt):
        raise CaptureMismatch(
            f"the response shows prompts of choices {sorted(tokens.prompt)}, "
            f"outputs of {sorted(tokens.output)}"
        )
    if {choice.index for choice in captured} != set(tokens.output):
        raise CaptureMismatch(
            f"choices {sorted(choice.index for choice in captured)} were captured, "
            f"the response has {sorted(tokens.output)}"
        )
    ordered = sorted(captured, key=lambda choice: choice.index)
    shapes = tuple(_shape(choice, tokens) for choice in ordered)
    pieces = [_sketches(request_id, num_layers, c, shape) for c, shape in zip(ordered, shapes, strict=True)]
    token_ids = {i: array("I", tokens.prompt[i] + tokens.output[i]) for i in sorted(tokens.output)}
    return Commitment(request_id, num_layers, shapes, token_ids, b"".join(pieces))


def _shape(choice: CapturedChoice, tokens: ResponseTokens) -> ChoiceShape:
    prompt, output = tokens.prompt[choice.index], tokens.output[choice.index]
    return ChoiceShape(choice.index, len(prompt), len(output), choice.cached_tokens)


def _sketches(request_id: str, num_layers: int, choice: CapturedChoice, shape: ChoiceShape) -> bytes:
    """The engine may have run a step beyond the last token that was emitted: what it captured there goes."""
    wanted = shape.positions(request_id)
    computed = shape.prompt_tokens + max(shape.output_tokens - 1, 0)
    held = [position for position in choice.positions if position < computed]
    row_bytes = num_layers * SKETCH_BYTES
    if held != wanted or len(choice.sketches) != len(choice.positions) * row_bytes:
        raise CaptureMismatch(
            f"choice {choice.index} of {shape.prompt_tokens} + {shape.output_tokens} tokens, "
            f"{shape.cached_tokens} cached: positions {wanted} are to be covered, {held} were captured, "
            f"in {len(choice.sketches)} bytes"
        )
    return choice.sketches[: len(held) * row_bytes]


class ReceiptIssuer:
    """Issues receipts, and keeps the commitments behind them until they may be challenged no longer.

    Attributes:
        issued, missing: answers with a receipt, and without one, since the process began.
    """

    def __init__(
        self, identity: MinerIdentity, signer: Signer, captures: Captures, commitments: CommitmentStore
    ) -> None:
        self._identity, self._signer = identity, signer
        self._captures, self._commitments = captures, commitments
        self.issued = self.missing = 0

    def is_answered(self, request_id: str) -> bool:
        """Whether a receipt of that request was issued and is still open to challenges."""
        return request_id in self._commitments

    async def issue(
        self, request: CompletionRequest, tokens: ResponseTokens, times: ResponseTimes
    ) -> Receipt | None:
        """The receipt of a finished response; None, with an error in the log, rather than a wrong one."""
        captured = await self._captures.collect(request.request_id)
        try:
            commitment = commitment_of(request.request_id, self._identity.num_layers, tokens, captured)
        except CaptureMismatch as mismatch:
            log.error("request %s goes without a receipt: %s", request.request_id, mismatch)
            self.missing += 1
            return None
        # A tree of a long context takes tens of milliseconds, in which other streams must not stand still.
        root = await asyncio.to_thread(lambda: commitment.tree().root)
        self._commitments.add(commitment)
        self.issued += 1
        return sign_receipt(self._body(request, commitment, root, times), self._signer)

    async def discard(self, request_id: str) -> None:
        """Forget what was captured for a request that gets no receipt."""
        await self._captures.discard(request_id)

    def _body(
        self, request: CompletionRequest, commitment: Commitment, root: bytes, times: ResponseTimes
    ) -> ReceiptBody:
        identity = self._identity
        return ReceiptBody(
            request_id=request.request_id,
            hotkey=identity.hotkey,
            model=identity.model,
            request_digest=request.digest,
            sampler=SAMPLER,
            seed=request.seed,
            calibration_digest=identity.calibration_digest,
            num_layers=identity.num_layers,
            choices=tuple(_choice_receipt(commitment, shape) for shape in commitment.choices),
            merkle_root=root.hex(),
            leaves=len(commitment.sketches) // SKETCH_BYTES,
            received_at_ms=times.received_at_ms,
            first_token_at_ms=times.first_token_at_ms,
            finished_at_ms=times.finished_at_ms,
        )


def _choice_receipt(commitment: Commitment, shape: ChoiceShape) -> ChoiceReceipt:
    token_ids = commitment.token_ids[shape.index]
    return ChoiceReceipt(
        index=shape.index,
        prompt_digest=token_ids_digest(token_ids[: shape.prompt_tokens]),
        prompt_tokens=shape.prompt_tokens,
        output_digest=token_ids_digest(token_ids[shape.prompt_tokens :]),
        output_tokens=shape.output_tokens,
        cached_tokens=shape.cached_tokens,
    )
