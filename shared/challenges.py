"""What an auditor asks of a miner's `POST /hidden_state`, and what the miner answers.

`open` asks for committed points: sketches with their Merkle paths. `replay` asks for the full hidden
vectors of any tokens at any points, computed by the same engine.
"""

from typing import Annotated, Literal, TypeVar

from pydantic import Field, TypeAdapter, ValidationError

from shared.commitments import Opening, Point
from shared.errors import MalformedMessage
from shared.identifiers import Hex32, Message, RequestId, SignatureHex, Ss58
from shared.receipts import MAX_CHOICES, MAX_TOKENS
from shared.signing import Signer, sign_message
from shared.sketch_format import SKETCH_BYTES, decode_base64

CHALLENGE_PATH = "/hidden_state"
CHALLENGE_DOMAIN = "challenge-answer/1"

MAX_OPEN_POINTS = 256
MAX_REPLAY_POINTS = 16
MAX_PATH_HASHES = 40
MAX_HIDDEN_SIZE = 1 << 16

Position = Annotated[int, Field(ge=0, lt=MAX_TOKENS)]
Layer = Annotated[int, Field(ge=0, le=1024)]


class OpenPoint(Message):
    """A committed point: layers count from 1."""

    choice: Annotated[int, Field(ge=0, lt=MAX_CHOICES)] = 0
    position: Position
    layer: Annotated[int, Field(ge=1, le=1024)]

    def point(self) -> Point:
        return Point(self.choice, self.position, self.layer)


class OpenRequest(Message):
    """Ask for openings of committed points of one answered request."""

    form: Literal["open"] = "open"
    request_id: RequestId
    points: Annotated[tuple[OpenPoint, ...], Field(min_length=1, max_length=MAX_OPEN_POINTS)]


class ReplayPoint(Message):
    """A place in the replayed tokens; layer 0 is the embedding's output."""

    position: Position
    layer: Layer


class ReplayRequest(Message):
    """Ask for full hidden vectors over `token_ids`."""

    form: Literal["replay"] = "replay"
    token_ids: Annotated[
        tuple[Annotated[int, Field(ge=0, lt=1 << 32)], ...], Field(min_length=1, max_length=MAX_TOKENS)
    ]
    points: Annotated[tuple[ReplayPoint, ...], Field(min_length=1, max_length=MAX_REPLAY_POINTS)]


ChallengeRequest = Annotated[OpenRequest | ReplayRequest, Field(discriminator="form")]
_CHALLENGE: TypeAdapter[OpenRequest | ReplayRequest] = TypeAdapter(ChallengeRequest)


class OpenedPoint(Message):
    """One opening: sketch in base64 (128 bytes), Merkle path from leaf to root."""

    choice: Annotated[int, Field(ge=0, lt=MAX_CHOICES)]
    position: Position
    layer: Annotated[int, Field(ge=1, le=1024)]
    token_id: Annotated[int, Field(ge=0, lt=1 << 32)]
    sketch: Annotated[str, Field(max_length=256)]
    path: Annotated[tuple[Hex32, ...], Field(max_length=MAX_PATH_HASHES)]

    def opening(self) -> Opening:
        """The opening in binary form.

        Raises:
            MalformedMessage: the sketch is not base64 of at most 128 bytes.
        """
        return Opening(
            Point(self.choice, self.position, self.layer),
            self.token_id,
            decode_base64(self.sketch, SKETCH_BYTES),
            tuple(bytes.fromhex(step) for step in self.path),
        )


class ReplayedVector(Message):
    """One full hidden vector: base64 of little-endian bfloat16, hidden_size numbers."""

    position: Position
    layer: Layer
    vector: Annotated[str, Field(max_length=MAX_HIDDEN_SIZE * 3)]


class OpenAnswer(Message):
    """A miner's signed answer to `open`; points that it can't open are absent."""

    form: Literal["open"] = "open"
    hotkey: Ss58
    challenge_digest: Hex32
    """SHA-256 of the challenge's body, so that an answer can't be replayed for another."""
    openings: Annotated[tuple[OpenedPoint, ...], Field(max_length=MAX_OPEN_POINTS)]
    signature: SignatureHex | None = None


class ReplayAnswer(Message):
    """A miner's signed answer to `replay`."""

    form: Literal["replay"] = "replay"
    hotkey: Ss58
    challenge_digest: Hex32
    vectors: Annotated[tuple[ReplayedVector, ...], Field(max_length=MAX_REPLAY_POINTS)]
    signature: SignatureHex | None = None


Answer = TypeVar("Answer", OpenAnswer, ReplayAnswer)


def sign_answer(answer: Answer, signer: Signer) -> Answer:
    """The same answer with the miner's signature."""
    return answer.model_copy(update={"signature": sign_message(signer, CHALLENGE_DOMAIN, answer)})


def parse_challenge(data: bytes) -> OpenRequest | ReplayRequest:
    """A challenge from a request's body.

    Raises:
        MalformedMessage: it is neither form; the message names the first offending field.
    """
    try:
        return _CHALLENGE.validate_json(data)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        place = ".".join(str(part) for part in first["loc"]) or "the whole text"
        raise MalformedMessage(f"not a challenge: {place}: {first['msg']}") from None
