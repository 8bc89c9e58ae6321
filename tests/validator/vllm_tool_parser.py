"""What vLLM's own parser of Hermes tool calls shows a client of a text, without an engine."""

from types import SimpleNamespace
from typing import Any

from vllm.tool_parsers.hermes_tool_parser import Hermes2ProToolParser


def _parser() -> Any:
    tokenizer: Any = SimpleNamespace(get_vocab=dict)
    return Hermes2ProToolParser(tokenizer)


def shown_by_vllm(text: str) -> tuple[str | None, list[dict[str, Any]]]:
    """Content and tool calls of a whole answer."""
    request: Any = SimpleNamespace()
    found = _parser().extract_tool_calls(text, request)
    return found.content, [call.model_dump() for call in found.tool_calls]


def streamed_by_vllm(text: str, size: int) -> tuple[str, list[list[dict[str, Any]]]]:
    """Content and the parts of tool calls, the text coming in pieces of `size` characters."""
    parser, request = _parser(), SimpleNamespace()
    content, parts = "", []
    for start in range(0, len(text), size):
        before, now = text[:start], text[: start + size]
        delta = parser.extract_tool_calls_streaming(before, now, now[start:], [], [], [], request)
        if delta is None:
            continue
        content += delta.content or ""
        if delta.tool_calls:
            parts.append([call.model_dump(exclude_none=True) for call in delta.tool_calls])
    return content, parts
