"""What the gateway measures of one answer: token ids, counted and timed by itself; the text's digest."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from gateway.errors import MinerFailure
from shared.answer_text import AnswerText, TextPlace
from shared.errors import MalformedMessage
from shared.receipts import MAX_CHOICES, MAX_TOKENS
from shared.records import ChoiceRecord

TOKEN_ID_LIMIT = 1 << 32
"""Token ids are below this: digests hold them in 32 bits."""


BROKEN_OFF = "abort"
"""How vLLM ends the outputs of a request that it gives up."""


@dataclass
class _Choice:
    text: AnswerText
    prompt_token_ids: tuple[int, ...] | None = None
    output_token_ids: list[int] = field(default_factory=list)
    finish_reason: str | None = None


class Tally:
    """Token ids and text of one answer, from its events or from the whole.

    Args:
        place: where the client finds the text.

    Attributes:
        first_token_at_s: when the first event with a token came, on the clock that gave `at_s`.
    """

    def __init__(self, place: TextPlace) -> None:
        self._place: TextPlace = place
        self._choices: dict[int, _Choice] = {}
        self._shared_prompt: tuple[int, ...] | None = None
        self.first_token_at_s: float | None = None
        self.output_tokens = 0

    def add(self, payload: Mapping[str, Any], at_s: float) -> None:
        """Count one event, or one whole answer, that came at `at_s`.

        Raises:
            MinerFailure: it has not the shape of an OpenAI answer with token ids.
        """
        before = self.output_tokens
        if payload.get("prompt_token_ids") is not None:
            self._shared_prompt = self._shared_prompt or _token_ids(payload["prompt_token_ids"])
        for choice in choices_of(payload):
            self._add_choice(choice)
        if self.output_tokens > before and self.first_token_at_s is None:
            self.first_token_at_s = at_s

    def _add_choice(self, fields: Any) -> None:
        choice = self._choice(_index(fields))
        if choice.prompt_token_ids is None and fields.get("prompt_token_ids") is not None:
            choice.prompt_token_ids = _token_ids(fields["prompt_token_ids"])
        new = fields.get("token_ids")
        if new:
            token_ids = _token_ids(new)
            if self.output_tokens + len(token_ids) > MAX_TOKENS:
                raise MinerFailure(f"it sent more than {MAX_TOKENS} tokens")
            choice.output_token_ids += token_ids
            self.output_tokens += len(token_ids)
        try:
            choice.text.add(fields, brings_ids=bool(new))
        except MalformedMessage as error:
            raise MinerFailure(str(error)) from None
        if isinstance(fields.get("finish_reason"), str):
            choice.finish_reason = fields["finish_reason"][:64]

    def _choice(self, index: int) -> _Choice:
        choice = self._choices.get(index)
        if choice is None:
            choice = self._choices[index] = _Choice(AnswerText(self._place))
        return choice

    def check_complete(self) -> None:
        """Check that a finished answer says of which tokens it consists.

        Raises:
            MinerFailure: it has no choice, a choice without prompt ids or with text but no token ids, or one
                that was broken off.
        """
        if not self._choices:
            raise MinerFailure("its answer has no choices")
        for index, choice in self._choices.items():
            if choice.finish_reason == BROKEN_OFF:
                raise MinerFailure(f"choice {index} of its answer was broken off before its end")
            if not self._prompt(choice):
                raise MinerFailure(f"choice {index} of its answer has no prompt_token_ids")
            if choice.text.shows_anything and not choice.output_token_ids:
                raise MinerFailure(f"choice {index} of its answer has text but no token_ids")

    def _prompt(self, choice: _Choice) -> tuple[int, ...]:
        return choice.prompt_token_ids or self._shared_prompt or ()

    def choices(self) -> tuple[ChoiceRecord, ...]:
        """What was received of every choice, by index."""
        return tuple(
            ChoiceRecord(
                index=index,
                prompt_token_ids=self._prompt(choice),
                output_token_ids=tuple(choice.output_token_ids),
                finish_reason=choice.finish_reason,
                text_sha256=choice.text.sha256,
                text_bytes=choice.text.size_bytes,
                text_bytes_without_ids=choice.text.without_ids_bytes,
                beside_text=choice.text.beside,
                tool_calls_sha256=choice.text.tool_calls.sha256,
            )
            for index, choice in sorted(self._choices.items())
        )

    @property
    def prompt_tokens(self) -> int:
        """Prompt tokens over all choices, at most MAX_TOKENS."""
        return min(sum(len(self._prompt(choice)) for choice in self._choices.values()), MAX_TOKENS)


def choices_of(payload: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The choices of an event or an answer.

    Raises:
        MinerFailure: there is no list of objects.
    """
    choices = payload.get("choices")
    if not isinstance(choices, list):
        raise MinerFailure("its answer has no list of choices")
    for choice in choices:
        if not isinstance(choice, dict):
            raise MinerFailure("its answer has no list of choices")
    return choices


def _index(choice: Mapping[str, Any]) -> int:
    index = choice.get("index")
    if type(index) is not int or not 0 <= index < MAX_CHOICES:
        raise MinerFailure(f"a choice's index must be from 0 to {MAX_CHOICES - 1}")
    return index


def _token_ids(value: Any) -> tuple[int, ...]:
    if not isinstance(value, list) or len(value) > MAX_TOKENS:
        raise MinerFailure(f"token ids must be a list of at most {MAX_TOKENS}")
    for item in value:
        if type(item) is not int or not 0 <= item < TOKEN_ID_LIMIT:
            raise MinerFailure("token ids must be whole numbers from 0 to 2**32-1")
    return tuple(value)
