"""Whether each choice ends where vLLM would have ended it: not earlier, not later.

Follows `check_stop` of `vllm/v1/core/sched/utils.py` for tokens and lengths, and
`vllm/v1/engine/detokenizer.py` for stop strings. Pure: the record and the auditor's own decoding decide.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Protocol

from shared.model_identity import LEAST_CONTEXT_TOKENS
from shared.records import ChoiceRecord, RequestRecord
from validator.detokenization import STOPPED, TextRule
from validator.findings import Finding, failed
from validator.sampling_rules import SamplingRule


class Decoder(Protocol):
    """Decodes output tokens: `validator.detokenization.TextDecoder`."""

    def sent_texts(
        self, prompt: Sequence[int], output: Sequence[int], rule: TextRule, finish_reason: str | None
    ) -> frozenset[str]:
        """The texts that vLLM may have sent; exactly one when the output ended for its length."""


@dataclass(frozen=True)
class _Output:
    """One choice, and the rule it was drawn by."""

    choice: ChoiceRecord
    rule: SamplingRule
    decoder: Decoder

    def failed(self, words: str) -> Finding:
        return failed("tokens", f"choice {self.choice.index} {words}")

    def stopped(self, count: int) -> list[bool]:
        """Whether a stop string is complete after `count` tokens, with special tokens shown or not.

        Both count: parsers of tool calls and of reasoning make vLLM show them.
        """
        shown = {True, not self.rule.skip_special_tokens}
        return [
            self._stopped(count, replace(self._text_rule(), skip_special_tokens=not show)) for show in shown
        ]

    def _text_rule(self) -> TextRule:
        return TextRule(
            stops=self.rule.stop,
            min_tokens=self.rule.min_tokens,
            spaces_between_special_tokens=self.rule.spaces_between_special_tokens,
        )

    def _stopped(self, count: int, text_rule: TextRule) -> bool:
        """A stop string is there when looking for it makes the text shorter."""
        prompt, output = self.choice.prompt_token_ids, self.choice.output_token_ids[:count]
        [cut] = self.decoder.sent_texts(prompt, output, text_rule, "length")
        [whole] = self.decoder.sent_texts(prompt, output, replace(text_rule, stops=()), "length")
        return cut != whole


def check_stop(
    rule: SamplingRule,
    record: RequestRecord,
    decoder: Decoder,
    context_limit: int = LEAST_CONTEXT_TOKENS,
) -> Finding | None:
    """A failure where a choice is cut short, goes on after its end, or ends before it may.

    An answer that did not reach the client as a whole may end anywhere. Token ids must be the model's
    (`check_vocabulary`).

    Args:
        context_limit: from so many tokens of prompt and output together an answer may end for its length.
    """
    complete = record.outcome == "answered"
    for choice in record.choices:
        output = _Output(choice, rule, decoder)
        finding = _check_early_end(output) or _check_padding(output)
        if finding is None and complete:
            finding = _check_end(output, context_limit)
        if finding is not None:
            return finding
    return None


def _check_early_end(output: _Output) -> Finding | None:
    rule = output.rule
    held_back = rule.held_back_token_ids
    if rule.allowed_token_ids is not None and held_back.issuperset(rule.allowed_token_ids):
        return None  # every token is masked, so any may come
    for place, token in enumerate(output.choice.output_token_ids[: rule.min_tokens]):
        if token in held_back:
            words = f"has the end token {token} as number {place + 1}, before min_tokens {rule.min_tokens}"
            return output.failed(f"{words}; pass the request's parameters on unchanged")
    return None


def _check_padding(output: _Output) -> Finding | None:
    rule, token_ids = output.rule, output.choice.output_token_ids
    if rule.max_tokens is not None and len(token_ids) > rule.max_tokens:
        return output.failed(f"has {len(token_ids)} tokens, {rule.max_tokens} were asked for at most")
    ends = [place for place, token in enumerate(token_ids[:-1], start=1) if token in rule.end_token_ids]
    if ends:
        return output.failed(f"goes on after the end token at number {ends[0]} of {len(token_ids)}")
    if rule.stop and len(token_ids) > 1 and all(output.stopped(len(token_ids) - 1)):
        return output.failed("goes on after a stop string of the request")
    return None


def _check_end(output: _Output, context_limit: int) -> Finding | None:
    reason = output.choice.finish_reason
    if reason in STOPPED:
        return None if _has_end(output) else _truncated(output, "without a stop token or stop string")
    if reason != "length":
        return output.failed(f"has the finish reason {reason!r}, which vLLM does not give for this request")
    together = len(output.choice.prompt_token_ids) + len(output.choice.output_token_ids)
    if len(output.choice.output_token_ids) == output.rule.max_tokens or together >= context_limit:
        return None
    return _truncated(output, f"for its length, before max_tokens {output.rule.max_tokens}")


def _has_end(output: _Output) -> bool:
    token_ids = output.choice.output_token_ids
    if not token_ids:
        return False
    if token_ids[-1] in output.rule.end_token_ids:
        return True
    return bool(output.rule.stop) and any(output.stopped(len(token_ids)))


def _truncated(output: _Output, words: str) -> Finding:
    count = len(output.choice.output_token_ids)
    return output.failed(f"ends after {count} tokens {words}; let the engine finish its answers")
