"""What vLLM's own detokenizer sends for output tokens, without an engine."""

from collections.abc import Sequence
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

from transformers import PreTrainedTokenizerBase
from vllm.sampling_params import SamplingParams
from vllm.v1.engine.detokenizer import FastIncrementalDetokenizer

from validator.detokenization import TextRule


@dataclass(frozen=True)
class Sent:
    """What a client got: the text, the tokens up to the end, and why it ended."""

    text: str
    token_ids: list[int]
    finish_reason: str | None


def sent_by_vllm(
    tokenizer: PreTrainedTokenizerBase,
    prompt: Sequence[int],
    output: Sequence[int],
    rule: TextRule,
    ending: str | None,
    streamed: bool,
) -> Sent:
    """Feed vLLM's detokenizer token by token, as its engine does.

    Args:
        ending: how the engine ends after the last token: "stop" (a stop token), "length", or None while it is
            still generating. A stop string ends it earlier.
    """
    parameters = SamplingParams(
        stop=list(rule.stops),
        include_stop_str_in_output=rule.keep_stop,
        min_tokens=rule.min_tokens,
        max_tokens=rule.min_tokens + len(output) + 1,
        skip_special_tokens=rule.skip_special_tokens,
        spaces_between_special_tokens=rule.spaces_between_special_tokens,
    )
    request: Any = SimpleNamespace(request_id="r", prompt_token_ids=list(prompt), sampling_params=parameters)
    detokenizer: Any = FastIncrementalDetokenizer(tokenizer, request)
    text, finish_reason = "", None
    for count, token in enumerate(output, start=1):
        last = ending if count == len(output) else None
        stopped = detokenizer.update([token], last == "stop")
        finish_reason = "stop" if stopped else last
        if streamed:
            text += detokenizer.get_next_output_text(finish_reason is not None, delta=True)
        if finish_reason is not None:
            break
    if not streamed:
        text = detokenizer.get_next_output_text(finish_reason is not None, delta=False)
    return Sent(text, list(detokenizer.output_token_ids), finish_reason)
