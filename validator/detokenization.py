"""The text that vLLM makes of output tokens: decoded one by one, cut at the first stop string.

Follows `vllm/v1/engine/detokenizer.py` for tokenizers of the `tokenizers` library; tests compare with it.
Bytes of an unfinished character are never sent.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from tokenizers import Tokenizer
from tokenizers.decoders import DecodeStream
from transformers import PreTrainedTokenizerBase

from shared.errors import ModelError

STOPPED = frozenset({"stop", "tool_calls"})
"""Finish reasons of an output that a stop token or a stop string ended; the second renames the first."""

END_OF_THOUGHT = "</think>"
"""The token by which vLLM's reasoning parsers tell reasoning from the answer."""

CALL_MARK = "<tool_call>"
"""The token with which models of the Hermes form, Qwen2.5 among them, begin a call of a tool."""

_INVALID_PREFIX = "Invalid prefix encountered"
"""How `tokenizers` says that a token changed what was decoded before; vLLM then starts a fresh stream."""


@dataclass(frozen=True)
class TextRule:
    """What a request says about the text of its answer; defaults are vLLM's.

    Attributes:
        stops: texts at which the output ends.
        keep_stop: whether the stop string, or the text of the stop token, is sent too.
        min_tokens: so many tokens are generated before stop strings are looked for.
    """

    stops: tuple[str, ...] = ()
    keep_stop: bool = False
    min_tokens: int = 0
    skip_special_tokens: bool = True
    spaces_between_special_tokens: bool = True

    @property
    def held_back(self) -> int:
        """Characters that are not sent before the end, because they may belong to a stop string."""
        return max((len(stop) - 1 for stop in self.stops), default=0) if not self.keep_stop else 0


class TextDecoder:
    """Decodes the outputs of one model.

    Attributes:
        marks_reasoning: whether the model has a token that ends its reasoning.
        marks_calls: whether it has one that begins a call of a tool.

    Raises:
        ModelError: the tokenizer is not of the `tokenizers` library.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase) -> None:
        backend = getattr(tokenizer, "backend_tokenizer", None)
        if not isinstance(backend, Tokenizer):
            raise ModelError(
                f"the tokenizer of {tokenizer.name_or_path} can't decode token by token; "
                "use a model that comes with a tokenizer.json"
            )
        self._tokenizer = backend
        self._added = {token: added.content for token, added in backend.get_added_tokens_decoder().items()}
        self.marks_reasoning = backend.token_to_id(END_OF_THOUGHT) is not None
        self.marks_calls = backend.token_to_id(CALL_MARK) is not None

    def sent_texts(
        self, prompt: Sequence[int], output: Sequence[int], rule: TextRule, finish_reason: str | None
    ) -> frozenset[str]:
        """Every text that vLLM may have sent for these tokens: one, or two after a stop.

        When the last token completes a stop string it may be a stop token itself, whose text is left out.
        """
        decoded = self._decode(prompt, output, rule)
        if finish_reason is None and decoded.stopped_at is None:
            return frozenset({decoded.text[: max(0, len(decoded.text) - rule.held_back)]})
        if finish_reason not in STOPPED or rule.keep_stop:
            return frozenset({decoded.text})
        if decoded.stopped_at is None:
            return frozenset({decoded.before_last})
        if decoded.stopped_at < len(output):
            return frozenset({decoded.text})
        return frozenset({decoded.text, decoded.before_last})

    def _decode(self, prompt: Sequence[int], output: Sequence[int], rule: TextRule) -> "_Decoded":
        stream = _Stream(self._tokenizer, self._added, prompt, rule)
        text, before_last = "", 0
        for count, token in enumerate(output, start=1):
            before_last = len(text)
            text += stream.step(token)
            end = _stop_end(text, len(text) - before_last, rule) if count > rule.min_tokens else None
            if end is not None:
                return _Decoded(text[:end], text[:before_last], count)
        return _Decoded(text, text[:before_last], None)


@dataclass(frozen=True)
class _Decoded:
    """One output's text.

    Attributes:
        text: of all tokens, or up to the first stop string.
        before_last: of all tokens before the last one that was decoded.
        stopped_at: after how many tokens a stop string was complete.
    """

    text: str
    before_last: str
    stopped_at: int | None


class _Stream:
    """Decodes one output, after its prompt."""

    def __init__(
        self, tokenizer: Tokenizer, added: dict[int, str], prompt: Sequence[int], rule: TextRule
    ) -> None:
        self._tokenizer, self._added = tokenizer, added
        self._skip_special = rule.skip_special_tokens
        self._joins_special = not (rule.skip_special_tokens or rule.spaces_between_special_tokens)
        self._after_special = False
        self._stream = DecodeStream(ids=list(prompt), skip_special_tokens=self._skip_special)

    def step(self, token: int) -> str:
        """What `token` adds to the text: nothing while a character is incomplete."""
        piece = self._decoded(token)
        if self._joins_special:
            special = self._added.get(token)
            if special is not None and self._after_special:
                piece = special
            self._after_special = special is not None
        return piece or ""

    def _decoded(self, token: int) -> str | None:
        try:
            return self._stream.step(self._tokenizer, token)
        except (OverflowError, TypeError):
            return None
        except Exception as error:  # tokenizers raises nothing narrower
            if not str(error).startswith(_INVALID_PREFIX):
                raise
        self._stream = DecodeStream(skip_special_tokens=self._skip_special)
        return self._stream.step(self._tokenizer, token)


def _stop_end(text: str, new_characters: int, rule: TextRule) -> int | None:
    """Where to cut a text whose last characters complete a stop string; None when they don't.

    Of several the one that ends first counts, then the one that was named first.
    """
    if not new_characters:
        return None
    found = []
    for number, stop in enumerate(rule.stops):
        start = text.find(stop, max(0, len(text) - new_characters - len(stop) + 1))
        if start >= 0:
            found.append((start + len(stop), number, start))
    if not found:
        return None
    end, _, start = min(found)
    return end if rule.keep_stop else start
