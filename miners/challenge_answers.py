"""Answers to an auditor's challenges: openings of what was committed, and replays by the same engine."""

import asyncio
import base64
from collections.abc import Sequence
from typing import Protocol

from miners.commitment_store import CommitmentStore
from miners.errors import RequestRefused
from shared.canonical import canonical_json, sha256_hex
from shared.challenges import (
    OpenAnswer,
    OpenedPoint,
    OpenRequest,
    ReplayAnswer,
    ReplayedVector,
    ReplayPoint,
    ReplayRequest,
    parse_challenge,
    sign_answer,
)
from shared.commitments import Opening
from shared.errors import MalformedMessage
from shared.signing import Signer

MAX_WAITING_REPLAYS = 32
"""Replays running or waiting; with 2 running and a second each, the last waits about 15 s."""


class Replays(Protocol):
    """The part of `EngineCapture` that challenges need."""

    async def replay(self, token_ids: Sequence[int], points: Sequence[ReplayPoint]) -> list[bytes]:
        """Little-endian bfloat16 vectors, one a point; raises ValueError for impossible tokens or points."""
        ...


class ChallengeAnswers:
    """Answers `POST /hidden_state`."""

    def __init__(self, signer: Signer, commitments: CommitmentStore, replays: Replays) -> None:
        self._signer, self._commitments, self._replays = signer, commitments, replays
        self._waiting = 0

    async def answer(self, body: bytes) -> bytes:
        """A signed answer to a challenge, as canonical JSON.

        Raises:
            RequestRefused: 400 for a malformed or impossible challenge, 404 for a request that is not held,
                429 when too many replays are waiting.
        """
        try:
            challenge = parse_challenge(body)
        except MalformedMessage as error:
            raise RequestRefused(400, str(error), "malformed_challenge") from None
        if isinstance(challenge, OpenRequest):
            return await self._open(challenge, sha256_hex(body))
        return await self._replay(challenge, sha256_hex(body))

    async def _open(self, challenge: OpenRequest, digest: str) -> bytes:
        commitment = self._commitments.get(challenge.request_id)
        if commitment is None:
            message = (
                f"no commitment of request {challenge.request_id} is held: unknown, or its window has passed"
            )
            raise RequestRefused(404, message, "unknown_request")
        wanted = [point.point() for point in challenge.points]
        openings = await asyncio.to_thread(commitment.open, wanted)
        opened = tuple(_opened_point(opening) for opening in openings if opening is not None)
        answer = OpenAnswer(hotkey=self._signer.ss58_address, challenge_digest=digest, openings=opened)
        return canonical_json(sign_answer(answer, self._signer))

    async def _replay(self, challenge: ReplayRequest, digest: str) -> bytes:
        if self._waiting >= MAX_WAITING_REPLAYS:
            raise RequestRefused(429, f"{self._waiting} replays are waiting; try again", "too_many_replays")
        self._waiting += 1
        try:
            vectors = await self._replays.replay(challenge.token_ids, challenge.points)
        except ValueError as error:
            raise RequestRefused(400, str(error), "impossible_replay") from None
        finally:
            self._waiting -= 1
        replayed = tuple(
            ReplayedVector(position=p.position, layer=p.layer, vector=base64.b64encode(vector).decode())
            for p, vector in zip(challenge.points, vectors, strict=True)
        )
        answer = ReplayAnswer(hotkey=self._signer.ss58_address, challenge_digest=digest, vectors=replayed)
        return canonical_json(sign_answer(answer, self._signer))


def _opened_point(opening: Opening) -> OpenedPoint:
    return OpenedPoint(
        choice=opening.point.choice,
        position=opening.point.position,
        layer=opening.point.layer,
        token_id=opening.token_id,
        sketch=base64.b64encode(opening.sketch).decode(),
        path=tuple(step.hex() for step in opening.path),
    )
