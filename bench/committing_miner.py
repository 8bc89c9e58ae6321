"""A miner without a model: what it commits to is noise, everything else is the protocol's own.

Receipts, trees, openings and signatures are what a real miner's are, byte for byte in size and form.
"""

import base64
import random
from dataclasses import dataclass

from bittensor.sp_core import Keypair

from shared.canonical import canonical_json, sha256_hex, token_ids_digest
from shared.challenges import (
    OpenAnswer,
    OpenedPoint,
    OpenPoint,
    OpenRequest,
    ReplayAnswer,
    ReplayedVector,
    ReplayPoint,
    ReplayRequest,
    sign_answer,
)
from shared.commitments import ChoiceShape, Commitment, Point, leaf_bytes
from shared.merkle import MerkleTree
from shared.receipts import ChoiceReceipt, Receipt, ReceiptBody, sign_receipt
from shared.records import ChoiceRecord, RequestRecord
from shared.sketch_format import SKETCH_BYTES
from validator.challenge_selection import DEFAULT_POINTS, draw_points, draw_replay_point
from validator.published_rows import ChallengeAnswers, ChallengeExchange, IssuedChallenge, ReplayPlace


@dataclass(frozen=True)
class CommittingMiner:
    """Signs receipts and answers to challenges with its hotkey."""

    signer: Keypair
    num_layers: int = 28
    hidden_size: int = 3584
    model: str = "tiny"
    calibration_digest: str = sha256_hex(b"calibration")

    def commit(self, record: RequestRecord) -> RequestRecord:
        """The record with a receipt of this miner's."""
        return self.signed(record, self.statement(record))

    def signed(self, record: RequestRecord, statement: ReceiptBody) -> RequestRecord:
        """The record with this statement, signed anew: sr25519 signatures differ from time to time."""
        receipt = sign_receipt(statement, self.signer).model_dump(mode="json")
        return record.model_copy(update={"receipt": receipt})

    def statement(self, record: RequestRecord, openable: bool = True) -> ReceiptBody:
        """What the miner states of its answer.

        Args:
            openable: whether the root is that of the commitment; of answers that nobody will ask about it
                may be any, which saves most of the work.
        """
        root, leaves = self._root(record) if openable else self._any_root(record)
        return ReceiptBody(
            request_id=record.request_id,
            hotkey=self.signer.ss58_address,
            model=self.model,
            request_digest=sha256_hex(record.request_body.encode()),
            sampler="vllm-native/1",
            seed=7,
            calibration_digest=self.calibration_digest,
            num_layers=self.num_layers,
            choices=tuple(_choice(one) for one in record.choices),
            merkle_root=root,
            leaves=leaves,
            received_at_ms=record.started_at_ms,
            first_token_at_ms=None,
            finished_at_ms=record.finished_at_ms,
        )

    def exchange(self, record: RequestRecord, seed: str) -> ChallengeExchange:
        """What an auditor asks about the record, and what this miner answers."""
        receipt = Receipt.model_validate(record.receipt, strict=False)
        points = draw_points(seed, receipt, DEFAULT_POINTS)
        replay = draw_replay_point(seed, receipt)
        about = {"request_id": record.request_id, "miner_hotkey": record.miner_hotkey}
        challenge = IssuedChallenge(
            **about,
            challenge_seed=seed,
            points=tuple(OpenPoint(choice=p.choice, position=p.position, layer=p.layer) for p in points),
            replay=ReplayPlace(choice=replay.choice, position=replay.position, layer=replay.layer),
        )
        answers = ChallengeAnswers(
            **about, opened=self._open(record, challenge), replayed=self._replay(record, replay)
        )
        return ChallengeExchange(challenge=challenge, answers=answers)

    def _root(self, record: RequestRecord) -> tuple[str, int]:
        """The root of the commitment's tree, and its leaves; their places are listed once only."""
        held = self._commitment(record)
        places, ids, step = held.points().points, held.token_ids, SKETCH_BYTES
        leaves = [
            leaf_bytes(one, ids[one.choice][one.position], held.sketches[place * step : (place + 1) * step])
            for place, one in enumerate(places)
        ]
        return MerkleTree(leaves).root.hex(), len(leaves)

    def _any_root(self, record: RequestRecord) -> tuple[str, int]:
        shapes = _shapes(record)
        count = self.num_layers * sum(len(shape.positions(record.request_id)) for shape in shapes)
        return sha256_hex(record.request_id.encode()), count

    def _commitment(self, record: RequestRecord) -> Commitment:
        shapes = _shapes(record)
        token_ids = {one.index: [*one.prompt_token_ids, *one.output_token_ids] for one in record.choices}
        count = self.num_layers * sum(len(shape.positions(record.request_id)) for shape in shapes)
        noise = random.Random(record.request_id).randbytes(count * SKETCH_BYTES)
        return Commitment(record.request_id, self.num_layers, shapes, token_ids, noise)

    def _open(self, record: RequestRecord, challenge: IssuedChallenge) -> OpenAnswer:
        found = self._commitment(record).open([one.point() for one in challenge.points])
        opened = tuple(
            OpenedPoint(
                choice=one.point.choice,
                position=one.point.position,
                layer=one.point.layer,
                token_id=one.token_id,
                sketch=base64.b64encode(one.sketch).decode(),
                path=tuple(step.hex() for step in one.path),
            )
            for one in found
            if one is not None
        )
        request = OpenRequest(request_id=record.request_id, points=challenge.points)
        digest = sha256_hex(canonical_json(request))
        hotkey = self.signer.ss58_address
        return sign_answer(OpenAnswer(hotkey=hotkey, challenge_digest=digest, openings=opened), self.signer)

    def _replay(self, record: RequestRecord, point: Point) -> ReplayAnswer:
        choice = next(one for one in record.choices if one.index == point.choice)
        token_ids = (*choice.prompt_token_ids, *choice.output_token_ids)[: point.position + 1]
        asked = ReplayPoint(position=point.position, layer=point.layer)
        digest = sha256_hex(canonical_json(ReplayRequest(token_ids=token_ids, points=(asked,))))
        noise = random.Random(f"{record.request_id}/replay").randbytes(self.hidden_size * 2)
        vector = ReplayedVector(
            position=point.position, layer=point.layer, vector=base64.b64encode(noise).decode()
        )
        answer = ReplayAnswer(hotkey=self.signer.ss58_address, challenge_digest=digest, vectors=(vector,))
        return sign_answer(answer, self.signer)


def _shapes(record: RequestRecord) -> tuple[ChoiceShape, ...]:
    return tuple(
        ChoiceShape(one.index, len(one.prompt_token_ids), len(one.output_token_ids), 0)
        for one in record.choices
    )


def _choice(record: ChoiceRecord) -> ChoiceReceipt:
    return ChoiceReceipt(
        index=record.index,
        prompt_digest=token_ids_digest(record.prompt_token_ids),
        prompt_tokens=len(record.prompt_token_ids),
        output_digest=token_ids_digest(record.output_token_ids),
        output_tokens=len(record.output_token_ids),
        cached_tokens=0,
    )
