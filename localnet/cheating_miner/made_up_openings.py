"""Answers to challenges whose openings a cheat makes up."""

import base64
from collections.abc import Sequence

from localnet.cheating_miner.cheat import MinerParts
from miners.service import Answers
from shared.canonical import canonical_json, sha256_hex
from shared.challenges import (
    OpenAnswer,
    OpenedPoint,
    OpenRequest,
    ReplayRequest,
    parse_challenge,
    sign_answer,
)
from shared.commitments import Commitment, Point
from shared.errors import MalformedMessage


def read_challenge(body: bytes) -> OpenRequest | ReplayRequest | None:
    """A challenge, or None for what is none."""
    try:
        return parse_challenge(body)
    except MalformedMessage:
        return None


def shown(point: Point, token_id: int, sketched: bytes, path: Sequence[bytes]) -> OpenedPoint:
    """One opening as the protocol has it."""
    return OpenedPoint(
        choice=point.choice,
        position=point.position,
        layer=point.layer,
        token_id=token_id,
        sketch=base64.b64encode(sketched).decode(),
        path=tuple(step.hex() for step in path),
    )


class MadeUpOpenings:
    """Answers `open` with what a cheat makes up, and everything else as the stock miner does."""

    def __init__(self, answers: Answers, parts: MinerParts) -> None:
        self._answers, self.parts = answers, parts

    async def opened(self, challenge: OpenRequest, commitment: Commitment) -> tuple[OpenedPoint, ...]:
        """The openings that are shown."""
        raise NotImplementedError

    async def answer(self, body: bytes) -> bytes:
        """A signed answer to a challenge."""
        challenge = read_challenge(body)
        if not isinstance(challenge, OpenRequest):
            return await self._answers.answer(body)
        held = self.parts.commitments.get(challenge.request_id)
        if held is None:
            return await self._answers.answer(body)
        openings = await self.opened(challenge, held)
        hotkey = self.parts.signer.ss58_address
        answer = OpenAnswer(hotkey=hotkey, challenge_digest=sha256_hex(body), openings=openings)
        return canonical_json(sign_answer(answer, self.parts.signer))
