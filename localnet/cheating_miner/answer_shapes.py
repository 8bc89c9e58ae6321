"""Answers field for field as vLLM 0.32 sends them, for texts that something else wrote. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from localnet.cheating_miner.exchange import Payload
from shared.inference_paths import CHAT_PATH

_NEITHER = {"kv_transfer_params": None, "ec_transfer_params": None, "metrics": None}
"""What ends a whole answer of either kind."""


def _no(*names: str) -> Payload:
    return dict.fromkeys(names)


@dataclass(frozen=True)
class WrittenChoice:
    """One finished choice."""

    text: str
    token_ids: Sequence[int]
    finish_reason: str


@dataclass(frozen=True)
class AnswerShape:
    """What all payloads of one answer have in common.

    Attributes:
        created: Unix seconds.
        fingerprint: vLLM's `system_fingerprint`, or None where the server names none.
        counts_usage: whether a stream ends with counts, as the client may ask.
    """

    path: str
    request_id: str
    model: str
    created: int
    prompt: Sequence[int]
    fingerprint: str | None = None
    counts_usage: bool = False

    @property
    def _chat(self) -> bool:
        return self.path == CHAT_PATH

    def _payload(self, kind: str, choices: list[Payload], **more: Any) -> Payload:
        prefix = "chatcmpl" if self._chat else "cmpl"
        names = {"id": f"{prefix}-{self.request_id}", "object": kind, "created": self.created}
        return {**names, "model": self.model, "choices": choices, **more}

    def _event(self, choices: list[Payload], **more: Any) -> Payload:
        return self._payload("chat.completion.chunk" if self._chat else "text_completion", choices, **more)

    def _stamp(self) -> Payload:
        return {} if self.fingerprint is None else {"system_fingerprint": self.fingerprint}

    def opening(self, index: int) -> Payload | None:
        """The event before a chat's first token; a completion has none."""
        if not self._chat:
            return None
        choice = {"index": index, "delta": {"role": "assistant", "content": ""}}
        choice |= _no("logprobs", "finish_reason")
        return self._event([choice], prompt_token_ids=list(self.prompt), prompt_text=None)

    def token(self, index: int, text: str, token_id: int, first: bool, finish_reason: str | None) -> Payload:
        """The event of one token; the last one of a choice names why it ends."""
        ends = finish_reason is not None
        words: Payload = {"delta": {"content": text}} if self._chat else {"text": text}
        choice = {"index": index, **words, "logprobs": None, "finish_reason": finish_reason}
        if ends or not self._chat:
            choice["stop_reason"] = None
        if not self._chat:
            choice["prompt_token_ids"] = list(self.prompt) if first else None
        stamp = self._stamp() if ends and not self.counts_usage else {}
        return self._event([{**choice, "token_ids": [token_id]}], **stamp)

    def usage(self, output_tokens: int) -> Payload:
        """The event that counts, before a stream's end."""
        return self._event([], usage=self._usage(output_tokens), **self._stamp())

    def _usage(self, output_tokens: int) -> Payload:
        prompt_tokens = len(self.prompt)
        total = prompt_tokens + output_tokens
        return {"prompt_tokens": prompt_tokens, "total_tokens": total, "completion_tokens": output_tokens}

    def whole(self, written: Sequence[WrittenChoice]) -> Payload:
        """An answer in one piece."""
        usage = self._usage(sum(len(choice.token_ids) for choice in written))
        usage |= _no("prompt_tokens_details", "completion_tokens_details")
        choices = [self._choice(index, choice) for index, choice in enumerate(written)]
        common = {"service_tier": None, "system_fingerprint": self.fingerprint, "usage": usage}
        if not self._chat:
            return self._payload("text_completion", choices, **common, **_NEITHER)
        prompt = {"prompt_logprobs": None, "prompt_token_ids": list(self.prompt), "prompt_text": None}
        return self._payload("chat.completion", choices, **common, **prompt, **_NEITHER)

    def _choice(self, index: int, written: WrittenChoice) -> Payload:
        message = {"role": "assistant", "content": written.text}
        message |= _no("refusal", "annotations", "audio", "function_call", "reasoning")
        words: Payload = {"message": message} if self._chat else {"text": written.text}
        ends = {"finish_reason": written.finish_reason, "stop_reason": None}
        choice = {"index": index, **words, "logprobs": None, **ends, "token_ids": list(written.token_ids)}
        if not self._chat:
            choice |= {"prompt_logprobs": None, "prompt_token_ids": list(self.prompt)}
        return {**choice, "routed_experts": None}
