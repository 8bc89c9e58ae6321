"""How a model writes its tool calls, so that vLLM turns them into the `tool_calls` of an answer."""

import re
from pathlib import Path

from shared.model_identity import chat_templates

_HERMES = re.compile(r'<tool_call>.*\\?"arguments\\?":\s*<', re.DOTALL)
"""Templates that teach calls of the form `<tool_call>{"name": <…>, "arguments": <…>}`: Qwen2.5, Hermes."""


def tool_call_flags(folder: Path) -> list[str]:
    """vLLM's flags for the format that the model's chat template teaches; none when it teaches no known one.

    Every miner of a model decides alike, so that clients get the same answers everywhere.

    Raises:
        ModelError: the model's files can't be read.
    """
    if any(_HERMES.search(template) for template in chat_templates(folder).values()):
        return ["--enable-auto-tool-choice", "--tool-call-parser", "hermes"]
    return []
