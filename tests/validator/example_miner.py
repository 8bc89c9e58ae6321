"""A miner in this process: transformers in bfloat16 stands in for the engine, the rest is the protocol.

The model is the tiny random Qwen2; `tiny_calibration` is measured on it by the calibration's own code.
"""

import base64
import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from typing import Any

import torch
from bittensor.sp_core import Keypair
from torch import Tensor

from shared.calibration import Calibration, CalibrationHeader
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
from shared.commitments import ChoiceShape, Commitment, Point
from shared.model_identity import model_digest
from shared.receipts import ChoiceReceipt, Receipt, ReceiptBody, sign_receipt
from shared.records import ChoiceRecord, RequestRecord
from shared.reference_model import ReferenceModel
from shared.sketches import cosine_distance, sketch, sketch_to_bytes, standardise
from tests.models import TINY_MODEL, tiny_model
from tests.shared.keys import MINER
from validator.calibration_limits import NoiseSample, fit_noise
from validator.calibration_noise import replay_points
from validator.calibration_prompts import as_request, calibration_chats
from validator.calibration_statistics import measure_statistics, tokenise_chats
from validator.prompt_rendering import CHAT_PATH, PromptRenderer, load_tokenizer
from validator.receipt_verification import committed_points

OUTPUT_TOKENS = 40
NOISE_REQUESTS = 32
FINISHED_AT_MS = 1_700_000_001_000


@lru_cache(maxsize=1)
def reference() -> ReferenceModel:
    # A model this small is slower on several threads, and far slower beside other processes.
    torch.set_num_threads(1)
    return ReferenceModel.load(str(tiny_model()))


@lru_cache(maxsize=1)
def bfloat16_engine() -> ReferenceModel:
    return ReferenceModel.load(str(tiny_model()), dtype=torch.bfloat16)


@lru_cache(maxsize=1)
def renderer() -> PromptRenderer:
    return PromptRenderer.load(str(tiny_model()))


def chat_body(number: int = 0, **fields: Any) -> dict[str, Any]:
    chats = calibration_chats()
    return {
        "model": TINY_MODEL,
        "messages": as_request(chats[number % len(chats)]),
        "request_id": f"request-{number:06d}",
        "seed": number,
        "return_token_ids": True,
        **fields,
    }


def output_tokens(request_id: str, choice: int, count: int) -> list[int]:
    """Tokens that nobody's model emitted, but everybody can compute."""
    stream = hashlib.shake_256(f"{request_id}|{choice}".encode()).digest(count * 2)
    return [300 + int.from_bytes(stream[i : i + 2], "big") % 40_000 for i in range(0, len(stream), 2)]


class ExampleMiner:
    """Answers requests and challenges; `engine` computes the hidden states."""

    def __init__(
        self,
        calibration: Calibration,
        engine: ReferenceModel | None = None,
        signer: Keypair = MINER,
    ) -> None:
        self.calibration, self.engine, self.signer = calibration, engine or bfloat16_engine(), signer
        self.commitments: dict[str, Commitment] = {}

    def hidden(self, token_ids: Sequence[int], points: Mapping[int, Sequence[int]]) -> dict[int, Tensor]:
        return self.engine.hidden_states(token_ids, points)

    def answer(
        self,
        body: Mapping[str, Any],
        path: str = CHAT_PATH,
        count: int = OUTPUT_TOKENS,
        cached_tokens: int = 0,
        **receipt_fields: Any,
    ) -> RequestRecord:
        """The gateway's record of one answer; `receipt_fields` falsify the receipt before it is signed."""
        text = json.dumps(body)
        request_id = body["request_id"]
        prompts = renderer().prompts(path, text)
        outputs = [output_tokens(request_id, index, count) for index in range(len(prompts))]
        commitment = self._commit(request_id, prompts, outputs, cached_tokens)
        self.commitments[request_id] = commitment
        receipt = self._receipt(commitment, text, receipt_fields)
        return record_of(receipt, self.signer, path, text, prompts, outputs)

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
            "sampler": "vllm-native/1",
            "seed": None,
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

    def __init__(
        self, distort: Callable[[Tensor, int], Tensor], calibration: Calibration | None = None
    ) -> None:
        super().__init__(calibration or tiny_calibration())
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
    outputs: Sequence[Sequence[int]],
) -> RequestRecord:
    choices = tuple(
        ChoiceRecord(
            index=index,
            prompt_token_ids=tuple(prompt),
            output_token_ids=tuple(outputs[index]),
            finish_reason="length",
        )
        for index, prompt in enumerate(prompts)
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
        output_tokens=sum(len(output) for output in outputs),
        choices=choices,
        receipt=receipt.model_dump(mode="json"),
    )


def receipt_of(record: RequestRecord) -> Receipt:
    return Receipt.model_validate_json(json.dumps(record.receipt))


def tokens_of(record: RequestRecord) -> dict[int, list[int]]:
    return {c.index: [*c.prompt_token_ids, *c.output_token_ids] for c in record.choices}


def reference_at(record: RequestRecord, points: Sequence[Point]) -> dict[Point, Tensor]:
    """The reference's hidden vectors, one pass each."""
    token_ids = tokens_of(record)
    return {point: _hidden_at(reference(), token_ids[point.choice], point) for point in points}


def _hidden_at(model: ReferenceModel, token_ids: Sequence[int], point: Point) -> Tensor:
    return model.hidden_states(token_ids, {point.layer: [point.position]})[point.layer][0]


@lru_cache(maxsize=1)
def bare_calibration() -> Calibration:
    """Statistics of the tiny model, no noise."""
    sequences = tokenise_chats(load_tokenizer(str(tiny_model())), calibration_chats()[:16])
    found = measure_statistics(reference(), sequences, lambda words: None)
    header = CalibrationHeader(
        model=TINY_MODEL,
        model_digest=model_digest(tiny_model()),
        num_layers=reference().num_layers,
        hidden_size=reference().hidden_size,
        reference=ReferenceModel.describe("cpu", torch.float32),
        statistics_tokens=found.tokens,
    )
    return Calibration(header, found.mean, found.deviation)


def noise_sample(miner: ExampleMiner, record: RequestRecord) -> NoiseSample:
    """Distances of everything that one answer of one choice committed to, in one pass of each model."""
    receipt, token_ids = receipt_of(record), tokens_of(record)[0]
    points, replayed = committed_points(receipt).points, replay_points(receipt)
    positions = sorted({point.position for point in [*points, *replayed]})
    everywhere = dict.fromkeys(range(1, receipt.num_layers + 1), positions)
    ours, theirs = reference().hidden_states(token_ids, everywhere), miner.hidden(token_ids, everywhere)

    def distance(point: Point, view: Callable[..., Tensor]) -> float:
        row, statistics = positions.index(point.position), miner.calibration.layer(point.layer)
        pair = [view(states[point.layer][row], *statistics) for states in (theirs, ours)]
        return max(0.0, cosine_distance(*pair))

    return NoiseSample(
        receipt,
        {point: distance(point, sketch) for point in points},
        {point: distance(point, standardise) for point in replayed},
    )


@lru_cache(maxsize=1)
def tiny_calibration() -> Calibration:
    """Statistics and honest noise of the tiny model."""
    bare = bare_calibration()
    miner = ExampleMiner(bare)
    records = [miner.answer(chat_body(number), count=16) for number in range(NOISE_REQUESTS)]
    noise = fit_noise([noise_sample(miner, record) for record in records], bare.header.num_layers)
    return Calibration(bare.header.model_copy(update={"noise": noise}), bare.mean, bare.deviation)
