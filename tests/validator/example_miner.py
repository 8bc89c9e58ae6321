"""A miner in this process: transformers in bfloat16 stands in for the engine, the rest is the protocol.

The model is the tiny random Qwen2. Tokens are drawn from it with the request's own noise,
and never twice for the same request.
"""

import base64
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import torch
from bittensor.sp_core import Keypair
from torch import Tensor

from shared.calibration import Calibration
from shared.canonical import canonical_json, sha256_hex, token_ids_digest
from shared.challenges import (
    OpenAnswer,
    OpenedPoint,
    OpenRequest,
    ReplayAnswer,
    ReplayedVector,
    ReplayRequest,
    sign_answer,
)
from shared.commitments import ChoiceShape, Commitment
from shared.inference_paths import CHAT_PATH
from shared.receipts import ChoiceReceipt, Receipt, ReceiptBody, sign_receipt
from shared.records import ChoiceRecord, RequestRecord
from shared.reference_model import ReferenceModel
from shared.sampling_noise import SAMPLER
from shared.sketches import sketch, sketch_to_bytes
from tests.models import TINY_MODEL
from tests.shared.keys import MINER
from tests.validator.example_generation import HONEST, Generated, Writing, delivered_text, generate
from tests.validator.example_model import bfloat16_engine, decoder, defaults, renderer
from validator.sampling_rules import SamplingRule, sampling_rule

FINISHED_AT_MS = 1_700_000_001_000


@lru_cache(maxsize=1024)
def drawn(model: ReferenceModel, rule: SamplingRule, prompt: tuple[int, ...], choice: int) -> Generated:
    """What a model draws; the same request is drawn once a test run."""
    return generate(model, decoder(), rule, prompt, choice)


@dataclass(frozen=True)
class Written:
    """One choice as its client sees it."""

    token_ids: tuple[int, ...]
    finish_reason: str
    text: str


class ExampleMiner:
    """Answers requests and challenges; `engine` computes the hidden states, `writing` makes the answers."""

    def __init__(
        self,
        calibration: Calibration,
        engine: ReferenceModel | None = None,
        signer: Keypair = MINER,
        writing: Writing = HONEST,
    ) -> None:
        self.calibration, self.engine, self.signer = calibration, engine or bfloat16_engine(), signer
        self.writing = writing
        self.commitments: dict[str, Commitment] = {}

    def hidden(self, token_ids: Sequence[int], points: Mapping[int, Sequence[int]]) -> dict[int, Tensor]:
        return self.engine.hidden_states(token_ids, points)

    def answer(
        self,
        body: Mapping[str, Any],
        path: str = CHAT_PATH,
        cached_tokens: int = 0,
        **receipt_fields: Any,
    ) -> RequestRecord:
        """The gateway's record of one answer; `receipt_fields` falsify the receipt before it is signed."""
        text = json.dumps(body)
        request_id = body["request_id"]
        prompts = renderer().prompts(path, text)
        rule = self.writing.rule(self.asked(path, text))
        choices = [self._write(rule, prompt, index) for index, prompt in enumerate(prompts)]
        outputs = [choice.token_ids for choice in choices]
        commitment = self._commit(request_id, prompts, outputs, cached_tokens)
        self.commitments[request_id] = commitment
        receipt = self._receipt(commitment, text, {"seed": body.get("seed"), **receipt_fields})
        return record_of(receipt, self.signer, path, text, prompts, choices)

    def asked(self, path: str, text: str) -> SamplingRule:
        """The sampling that a request asks for."""
        return sampling_rule(path, text, defaults())

    def _write(self, rule: SamplingRule, prompt: Sequence[int], choice: int) -> Written:
        found = drawn(self.writing.writer or self.engine, rule, tuple(prompt), choice)
        emitted = self.writing.edit(found)
        text = self.writing.retell(delivered_text(decoder(), rule, prompt, emitted))
        return Written(emitted.token_ids, emitted.finish_reason, text)

    def _commit(
        self,
        request_id: str,
        prompts: Sequence[Sequence[int]],
        outputs: Sequence[Sequence[int]],
        cached_tokens: int,
    ) -> Commitment:
        layers = range(1, self.engine.num_layers + 1)
        pieces: list[bytes] = []
        shapes = tuple(
            ChoiceShape(index, len(prompt), len(outputs[index]), cached_tokens)
            for index, prompt in enumerate(prompts)
        )
        token_ids = {index: [*prompt, *outputs[index]] for index, prompt in enumerate(prompts)}
        for shape in shapes:
            positions = shape.positions(request_id)
            found = self.hidden(token_ids[shape.index], dict.fromkeys(layers, positions))
            pieces += [
                self._sketch(found[layer][row], layer) for row in range(len(positions)) for layer in layers
            ]
        return Commitment(request_id, self.engine.num_layers, shapes, token_ids, b"".join(pieces))

    def _sketch(self, hidden: Tensor, layer: int) -> bytes:
        return sketch_to_bytes(sketch(hidden, *self.calibration.layer(layer)))

    def _receipt(self, commitment: Commitment, text: str, fields: Mapping[str, Any]) -> Receipt:
        stated = {
            "request_id": commitment.request_id,
            "hotkey": self.signer.ss58_address,
            "model": TINY_MODEL,
            "request_digest": sha256_hex(text.encode()),
            "sampler": SAMPLER,
            "calibration_digest": self.calibration.digest,
            "num_layers": commitment.num_layers,
            "choices": tuple(_choice_receipt(commitment, shape) for shape in commitment.choices),
            "merkle_root": commitment.tree().root.hex(),
            "leaves": len(commitment.points()),
            "received_at_ms": FINISHED_AT_MS - 1000,
            "first_token_at_ms": FINISHED_AT_MS - 900,
            "finished_at_ms": FINISHED_AT_MS - 100,
        }
        return sign_receipt(ReceiptBody(**{**stated, **fields}), self.signer)

    def open(self, request: OpenRequest) -> OpenAnswer:
        openings = self.commitments[request.request_id].open([point.point() for point in request.points])
        opened = tuple(
            OpenedPoint(
                choice=opening.point.choice,
                position=opening.point.position,
                layer=opening.point.layer,
                token_id=opening.token_id,
                sketch=base64.b64encode(opening.sketch).decode(),
                path=tuple(step.hex() for step in opening.path),
            )
            for opening in openings
            if opening is not None
        )
        digest = sha256_hex(canonical_json(request))
        answer = OpenAnswer(hotkey=self.signer.ss58_address, challenge_digest=digest, openings=opened)
        return sign_answer(answer, self.signer)

    def replay(self, request: ReplayRequest) -> ReplayAnswer:
        vectors = []
        for point in request.points:
            hidden = self.hidden(request.token_ids, {point.layer: [point.position]})[point.layer][0]
            data = hidden.to(torch.bfloat16).view(torch.uint8).numpy().tobytes()
            vectors.append(
                ReplayedVector(
                    position=point.position, layer=point.layer, vector=base64.b64encode(data).decode()
                )
            )
        digest = sha256_hex(canonical_json(request))
        answer = ReplayAnswer(
            hotkey=self.signer.ss58_address, challenge_digest=digest, vectors=tuple(vectors)
        )
        return sign_answer(answer, self.signer)


class DistortedMiner(ExampleMiner):
    """Computes with the true model and spoils what comes out: `distort` takes hidden states and layer."""

    def __init__(self, distort: Callable[[Tensor, int], Tensor], calibration: Calibration) -> None:
        super().__init__(calibration)
        self._distort = distort

    def hidden(self, token_ids: Sequence[int], points: Mapping[int, Sequence[int]]) -> dict[int, Tensor]:
        found = super().hidden(token_ids, points)
        return {layer: self._distort(states, layer) for layer, states in found.items()}


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


def record_of(
    receipt: Receipt,
    miner: Keypair,
    path: str,
    text: str,
    prompts: Sequence[Sequence[int]],
    written: Sequence[Written],
) -> RequestRecord:
    choices = tuple(
        ChoiceRecord(
            index=index,
            prompt_token_ids=tuple(prompt),
            output_token_ids=one.token_ids,
            finish_reason=one.finish_reason,
            text_sha256=sha256_hex(one.text.encode()),
            text_bytes=len(one.text.encode()),
        )
        for index, (prompt, one) in enumerate(zip(prompts, written, strict=True))
    )
    return RequestRecord(
        request_id=receipt.request_id,
        gateway_hotkey=Keypair.create_from_uri("//Gateway").ss58_address,
        miner_uid=7,
        miner_hotkey=miner.ss58_address,
        path=path,
        request_body=text,
        streamed=True,
        store=True,
        outcome="answered",
        http_status=200,
        error=None,
        started_at_ms=FINISHED_AT_MS - 1000,
        finished_at_ms=FINISHED_AT_MS,
        ttft_ms=100.0,
        duration_ms=1000.0,
        prompt_tokens=sum(len(prompt) for prompt in prompts),
        output_tokens=sum(len(one.token_ids) for one in written),
        choices=choices,
        receipt=receipt.model_dump(mode="json"),
    )


def receipt_of(record: RequestRecord) -> Receipt:
    return Receipt.model_validate_json(json.dumps(record.receipt))


def tokens_of(record: RequestRecord) -> dict[int, list[int]]:
    return {c.index: [*c.prompt_token_ids, *c.output_token_ids] for c in record.choices}
