"""What the gateway measures about one answer: token ids, counted and timed by itself."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from gateway.errors import MinerFailure
from shared.receipts import MAX_CHOICES, MAX_TOKENS
from shared.records import ChoiceRecord

TOKEN_ID_LIMIT = 1 << 32
"""Token ids are below this: digests hold them in 32 bits."""


@dataclass
class _Choice:
    prompt_token_ids: tuple[int, ...] | None = None
    output_token_ids: list[int] = field(default_factory=list)
    finish_reason: str | None = None
    has_text: bool = False


class Tally:
    """Token ids of one answer, from its events or from the whole.

    Attributes:
        first_token_at_s: when the first event with a token came, on the clock that gave `at_s`.
    """

    def __init__(self) -> None:
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
        choice = self._choices.setdefault(_index(fields), _Choice())
        if fields.get("prompt_token_ids") is not None and choice.prompt_token_ids is None:
            choice.prompt_token_ids = _token_ids(fields["prompt_token_ids"])
        new = _token_ids(fields.get("token_ids") or [])
        if self.output_tokens + len(new) > MAX_TOKENS:
            raise MinerFailure(f"it sent more than {MAX_TOKENS} tokens")
        choice.output_token_ids += new
        self.output_tokens += len(new)
        choice.has_text = choice.has_text or _has_text(fields)
        if isinstance(fields.get("finish_reason"), str):
            choice.finish_reason = fields["finish_reason"][:64]

    def check_complete(self) -> None:
        """Check that a finished answer says of which tokens it consists.

        Raises:
            MinerFailure: it has no choice, a choice without prompt ids, or text without token ids.
        """
        if not self._choices:
            raise MinerFailure("its answer has no choices")
        for index, choice in self._choices.items():
            if not self._prompt(choice):
                raise MinerFailure(f"choice {index} of its answer has no prompt_token_ids")
            if choice.has_text and not choice.output_token_ids:
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
    if not isinstance(choices, list) or not all(isinstance(choice, dict) for choice in choices):
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
    if not all(type(item) is int and 0 <= item < TOKEN_ID_LIMIT for item in value):
        raise MinerFailure("token ids must be whole numbers from 0 to 2**32-1")
    return tuple(value)


def _has_text(choice: Mapping[str, Any]) -> bool:
    """Whether an event's or answer's choice shows the client any words."""
    part = choice.get("delta") or choice.get("message") or choice
    return isinstance(part, dict) and bool(part.get("content") or part.get("text"))
