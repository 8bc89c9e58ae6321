"""Token ids of a response, gathered from vLLM's answer or from the events of its stream."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

_ENVELOPE = ("id", "created", "model", "object")


@dataclass
class ResponseTokens:
    """What a response has shown so far.

    Attributes:
        prompt, output: token ids by choice index.
        envelope: the fields that every event of the stream repeats.
        failed: the response holds an error.
    """

    prompt: dict[int, list[int]] = field(default_factory=dict)
    output: dict[int, list[int]] = field(default_factory=dict)
    envelope: dict[str, Any] = field(default_factory=dict)
    failed: bool = False

    def add(self, answer: Any) -> None:
        """Take in a whole answer or one event of a stream.

        vLLM gives `prompt_token_ids` beside the choices of a chat, and inside each choice of a completion.
        """
        if not isinstance(answer, Mapping) or "error" in answer:
            self.failed = True
            return
        self.envelope = {name: answer[name] for name in _ENVELOPE if name in answer}
        for choice in answer.get("choices", ()):
            index = choice["index"]
            prompt = choice.get("prompt_token_ids") or answer.get("prompt_token_ids")
            if prompt:
                self.prompt[index] = prompt
            self.output.setdefault(index, []).extend(choice.get("token_ids") or ())

    @property
    def any_output(self) -> bool:
        """Whether a token of output has been seen."""
        return any(self.output.values())
