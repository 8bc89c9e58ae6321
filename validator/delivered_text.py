"""Whether the text that a client was sent is the text of the tokens that the miner named.

A miner could name honest tokens and show other words: audits look at tokens, clients read words. Pure: the
gateway recorded the digest of the text, the auditor decodes the tokens again.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from shared.answer_text import BesideText
from shared.canonical import sha256_hex
from shared.errors import NotReproducible
from shared.inference_paths import CHAT_PATH
from shared.records import ChoiceRecord, RequestRecord
from shared.unquoted import unusual_field
from validator.detokenization import END_OF_THOUGHT, STOPPED, TextDecoder, TextRule
from validator.findings import Finding, failed
from validator.tool_calls import named_function, tool_calls_of, writes_calls

_TOOL_FIELDS: frozenset[BesideText] = frozenset({"tool_calls", "function_call"})
_REASONING_FIELDS: frozenset[BesideText] = frozenset({"reasoning", "reasoning_content"})


@dataclass(frozen=True)
class TextCheck:
    """What was found of an answer's text.

    Attributes:
        finding: a failure, or None.
        unchecked: why the text of some choice could not be compared, in words; "" when all was.
    """

    finding: Finding | None = None
    unchecked: str = ""


class _Body(BaseModel):
    """What a request says about the text of its answer; types and defaults are vLLM's."""

    model_config = ConfigDict(strict=True, extra="ignore")

    stop: str | list[str] | None = None
    include_stop_str_in_output: bool = False
    skip_special_tokens: bool = True
    spaces_between_special_tokens: bool = True
    min_tokens: Annotated[int, Field(ge=0)] = 0
    use_beam_search: bool = False
    echo: bool | None = None
    add_generation_prompt: bool = True
    messages: list[dict[str, Any]] = []
    tools: list[Any] | None = None
    tool_choice: Any = None

    def rule(self) -> TextRule:
        stops = [self.stop] if isinstance(self.stop, str) else self.stop or []
        return TextRule(
            stops=tuple(stop for stop in stops if stop),
            keep_stop=self.include_stop_str_in_output,
            min_tokens=self.min_tokens,
            skip_special_tokens=self.skip_special_tokens,
            spaces_between_special_tokens=self.spaces_between_special_tokens,
        )

    @property
    def offers_tools(self) -> bool:
        return bool(self.tools) and self.tool_choice != "none"


def check_delivered_text(record: RequestRecord, decoder: TextDecoder) -> TextCheck:
    """Compare what the client was sent with what the recorded tokens say, choice by choice.

    Decoding takes some 3 µs a token; token ids must be the model's (`check_vocabulary`).
    """
    try:
        body = _read(record.request_body)
        echoed = _echoed(body) if record.path == CHAT_PATH else ""
    except NotReproducible as error:
        return TextCheck(unchecked=str(error))
    unchecked = ""
    for choice in record.choices:
        try:
            finding = _check_choice(choice, body, echoed, record.streamed, decoder)
        except NotReproducible as error:
            unchecked = unchecked or f"choice {choice.index}: {error}"
            continue
        if finding is not None:
            return TextCheck(finding, unchecked)
    return TextCheck(unchecked=unchecked)


def _read(request_body: str) -> _Body:
    try:
        body = _Body.model_validate(json.loads(request_body))
    except ValidationError as error:
        raise NotReproducible(unusual_field(error)) from None
    except ValueError as error:
        raise NotReproducible(f"the recorded request is not JSON: {error}") from None
    if body.use_beam_search:
        raise NotReproducible("the request asks for beam search, whose text is decoded otherwise")
    return body


def _echoed(body: _Body) -> str:
    """What vLLM repeats before the answer to a chat that asks for an echo: the last message, if it is the
    answer's own role's. Completions echo no text when token ids are returned, as they always are."""
    last = body.messages[-1] if body.messages else {}
    if not body.echo or (last.get("role") != "assistant" and body.add_generation_prompt):
        return ""
    content = last.get("content")
    if last.get("role") != "assistant" or not isinstance(content, str | None):
        raise NotReproducible("the request asks for an echo of a message that is not the assistant's text")
    return content or ""


def _check_choice(
    choice: ChoiceRecord, body: _Body, echoed: str, streamed: bool, decoder: TextDecoder
) -> Finding | None:
    if choice.text_sha256 is None:
        raise NotReproducible("the gateway recorded no digest of the text; it runs an older version")
    foreign = _foreign(choice, body, decoder)
    if foreign:
        words = f"showed the client {', '.join(foreign)}, which neither request nor model call for"
        return failed("text", f"choice {choice.index} {words}; serve what the model writes as its content")
    if choice.beside_text == ("tool_calls",):
        return _check_calls(choice, body, _sent_texts(choice, body, decoder), decoder)
    if choice.beside_text:
        raise NotReproducible(f"part of the answer is in {', '.join(choice.beside_text)}, made by a parser")
    ahead = choice.text_bytes_without_ids - len(echoed.encode())
    if streamed and ahead > 0:
        words = f"{ahead} bytes of text came in events without token ids"
        return failed("text", f"choice {choice.index}: {words}; send text together with its tokens")
    texts = [echoed + text for text in _sent_texts(choice, body, decoder)]
    if any(_is_text(choice, text) for text in texts):
        return None
    _check_parsers(choice, body, texts, decoder)
    return failed("text", _words(choice, texts))


def _check_calls(
    choice: ChoiceRecord, body: _Body, texts: Sequence[str], decoder: TextDecoder
) -> Finding | None:
    """Hold the tool calls that the client was shown against those that the tokens write.

    Raises:
        NotReproducible: the text has a form whose calls depend on the miner's parser, or ended in a call.
    """
    if choice.tool_calls_sha256 is None:
        raise NotReproducible("the gateway recorded no digest of the tool calls; it runs an older version")
    found = [one for text in texts for one in tool_calls_of(text, body.tool_choice)]
    if any(
        one.sha256 == choice.tool_calls_sha256 and any(_is_text(choice, text) for text in one.contents)
        for one in found
    ):
        return None
    if choice.finish_reason not in STOPPED:
        raise NotReproducible("the answer ended in a tool call")
    forced = named_function(body.tool_choice) is not None or body.tool_choice == "required"
    if not found and (forced or not decoder.marks_calls or writes_calls(texts)):
        raise NotReproducible("its tool calls have a form that depends on the miner's parser")
    words = "the client was shown tool calls that are not those of its tokens"
    return failed("text", f"choice {choice.index}: {words}; pass on vLLM's own answer unchanged")


def _foreign(choice: ChoiceRecord, body: _Body, decoder: TextDecoder) -> list[str]:
    """Fields beside the text that no parser could have filled for this request and model."""
    allowed = (_TOOL_FIELDS if body.offers_tools else frozenset()) | (
        _REASONING_FIELDS if decoder.marks_reasoning else frozenset()
    )
    return [name for name in choice.beside_text if name not in allowed]


def _sent_texts(choice: ChoiceRecord, body: _Body, decoder: TextDecoder) -> list[str]:
    """Texts that vLLM may have sent; tool and reasoning parsers may have it keep special tokens."""
    rule = body.rule()
    rules = [rule]
    if body.offers_tools or decoder.marks_reasoning:
        rules.append(replace(rule, skip_special_tokens=False))
    made = (
        decoder.sent_texts(choice.prompt_token_ids, choice.output_token_ids, one, choice.finish_reason)
        for one in rules
    )
    return sorted(set().union(*made))


def _is_text(choice: ChoiceRecord, text: str) -> bool:
    data = text.encode()
    return len(data) == choice.text_bytes and sha256_hex(data) == choice.text_sha256


def _check_parsers(choice: ChoiceRecord, body: _Body, texts: list[str], decoder: TextDecoder) -> None:
    """Let pass what a parser of the miner's may have shortened without showing the rest.

    Raises:
        NotReproducible: the client got the beginning of what could hold an unfinished tool call, or the model
            ended its reasoning in the text.
    """
    beginnings = [form.encode()[: choice.text_bytes] for text in texts for form in (text, text.lstrip())]
    if body.offers_tools and choice.text_sha256 in [sha256_hex(beginning) for beginning in beginnings]:
        raise NotReproducible("the client got the beginning of the text; the rest may be a tool call")
    if decoder.marks_reasoning and any(END_OF_THOUGHT in text for text in texts):
        raise NotReproducible("the text holds reasoning, which a parser may have taken out")


def _words(choice: ChoiceRecord, texts: list[str]) -> str:
    expected = " or ".join(sorted({str(len(text.encode())) for text in texts}))
    return (
        f"choice {choice.index}: the client was sent {choice.text_bytes} bytes of text that are not the text "
        f"of its {len(choice.output_token_ids)} tokens ({expected} bytes); "
        "pass on vLLM's own answer unchanged"
    )
