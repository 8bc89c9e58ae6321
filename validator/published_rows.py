"""Rows of the dataset that are not messages already: words of answers, challenges and what came back."""

from typing import Annotated

from pydantic import Field

from shared.answer_text import BesideText
from shared.challenges import OpenAnswer, OpenPoint, ReplayAnswer
from shared.identifiers import Hex32, Message, RequestId, Ss58, TokenId, Whole
from shared.receipts import MAX_CHOICES, MAX_TOKENS


class OfOneRequest(Message):
    """About one attempt at one miner."""

    request_id: RequestId
    miner_hotkey: Ss58

    @property
    def key(self) -> tuple[str, str]:
        """What identifies it in all tables."""
        return self.request_id, self.miner_hotkey


class ChoiceText(Message):
    """One choice in full. Fields mean what they mean in `shared.records.ChoiceRecord`."""

    index: Annotated[int, Field(ge=0, lt=MAX_CHOICES)]
    prompt_token_ids: tuple[TokenId, ...]
    output_token_ids: tuple[TokenId, ...]
    finish_reason: str | None
    text_sha256: Hex32 | None
    text_bytes: Whole
    text_bytes_without_ids: Whole
    beside_text: tuple[BesideText, ...]
    tool_calls_sha256: Hex32 | None


class PublishedText(OfOneRequest):
    """The request's body as the miner got it, and the tokens of its answer. Not for `store: false`."""

    request_body: str
    choices: Annotated[tuple[ChoiceText, ...], Field(max_length=MAX_CHOICES)]


class ReplayPlace(Message):
    """The point whose full vector was asked for."""

    choice: Annotated[int, Field(ge=0, lt=MAX_CHOICES)]
    position: Annotated[int, Field(ge=0, lt=MAX_TOKENS)]
    layer: Annotated[int, Field(ge=0, le=1024)]


class IssuedChallenge(OfOneRequest):
    """What a miner was asked about one answer, as drawn from the block and its receipt's signature."""

    challenge_seed: Hex32
    points: tuple[OpenPoint, ...]
    replay: ReplayPlace


class ChallengeAnswers(OfOneRequest):
    """What the miner answered, signed; None for what was not asked any more, or not answered validly."""

    opened: OpenAnswer | None
    replayed: ReplayAnswer | None


class ChallengeExchange(Message):
    """One challenge and what came of it."""

    challenge: IssuedChallenge
    answers: ChallengeAnswers
