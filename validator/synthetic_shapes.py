"""The shape of a client's request: everything that a miner sees of it, but its texts.

Synthetic requests get the shapes of organic ones, whole, so that fields keep the company they keep. A request
that holds anything else than texts, numbers and switches (tools, images, JSON schemas, token ids, names of
users) has no shape: it could not be imitated without repeating what its client wrote.
"""

import hashlib
import hmac
import json
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal

from pydantic import Field

from shared.identifiers import Message
from shared.inference_paths import CHAT_PATH, COMPLETIONS_PATH

Role = Literal["system", "developer", "user", "assistant"]

NUMBERS = frozenset(
    {
        "temperature",
        "top_p",
        "top_k",
        "min_p",
        "presence_penalty",
        "frequency_penalty",
        "repetition_penalty",
        "length_penalty",
        "max_tokens",
        "max_completion_tokens",
        "min_tokens",
        "top_logprobs",
        "prompt_logprobs",
        "n",
        "best_of",
        "seed",
    }
)
"""Fields with a number. `logprobs` is a number in completions and a switch in chats."""

SWITCHES = frozenset(
    {
        "stream",
        "store",
        "logprobs",
        "echo",
        "ignore_eos",
        "skip_special_tokens",
        "spaces_between_special_tokens",
        "include_stop_str_in_output",
        "add_generation_prompt",
        "parallel_tool_calls",
        "return_token_ids",
    }
)

EMPTY_OR_ABSENT = frozenset(
    {
        "stop",
        "stop_token_ids",
        "tools",
        "functions",
        "tool_choice",
        "logit_bias",
        "user",
        "suffix",
        "metadata",
    }
    | {"response_format", "stream_options", "bad_words"}
)
"""Fields that clients send as null or empty, which says nothing about them."""

COMMON_STOPS = frozenset(
    {
        "\n",
        "\n\n",
        "###",
        "---",
        "</s>",
        "<|im_end|>",
        "<|endoftext|>",
        "<|eot_id|>",
        "User:",
        "Human:",
        "\nUser:",
    }
    | {"\nHuman:", "Assistant:", "Q:", "\nQ:", "END", "```", "Observation:", "\nObservation:", ".", ";"}
)
"""Stop strings that many programs send; others could be a client's own words."""

TEXT_FIELDS = frozenset({"messages", "prompt"})
_GATEWAYS_FIRST_FIELD = "request_id"
_MAX_TURNS = 64
_IDENTITY_DIGITS = 16


class Turn(Message):
    """One message without its text.

    Attributes:
        chars: length of its text in characters.
        content_first: whether `content` stands before `role`.
        as_parts: whether the content is a list with one text part.
        identity: of a system message, what it has in common with all of the same text; else "".
    """

    role: Role
    chars: Annotated[int, Field(ge=0)]
    content_first: bool = False
    as_parts: bool = False
    identity: str = ""


class Shape(Message):
    """One request without its texts.

    Attributes:
        fields: names of all the client's fields, in their order.
        values: values of those that hold no text.
        turns: messages; the prompt of a plain completion is one turn of the user.
    """

    path: Literal["/v1/chat/completions", "/v1/completions"]
    fields: tuple[str, ...]
    values: dict[str, Any]
    turns: tuple[Turn, ...]

    @property
    def user_turns(self) -> int:
        """How often the user has spoken."""
        return sum(turn.role == "user" for turn in self.turns)

    @property
    def system(self) -> Turn | None:
        """The system message, if it begins with one."""
        return self.turns[0] if self.turns[0].role in ("system", "developer") else None


class Identity:
    """Recognises equal texts without keeping them: a keyed digest whose key never leaves the auditor."""

    def __init__(self, key: bytes) -> None:
        self._key = key

    def of(self, text: str) -> str:
        """The same for the same text, and nothing to anyone without the key."""
        return hmac.new(self._key, text.encode(), hashlib.sha256).hexdigest()[:_IDENTITY_DIGITS]


def content_identity(body: Mapping[str, Any], identity: Identity) -> str:
    """What two requests with the same messages or prompt have in common."""
    content = {name: body.get(name) for name in sorted(TEXT_FIELDS)}
    return identity.of(json.dumps(content, sort_keys=True))


def shape_of(path: str, body: Mapping[str, Any], identity: Identity) -> Shape | None:
    """The shape of a request as a miner got it; None when it has something that can't be imitated."""
    if path not in (CHAT_PATH, COMPLETIONS_PATH):
        return None
    fields = _clients_fields(body)
    turns = _turns(body, path, identity)
    values = {name: body[name] for name in fields if name not in TEXT_FIELDS | {"model"}}
    if turns is None or not all(_is_plain(name, value) for name, value in values.items()):
        return None
    return Shape.model_validate({"path": path, "fields": fields, "values": values, "turns": turns})


def _clients_fields(body: Mapping[str, Any]) -> tuple[str, ...]:
    """The gateway puts its own fields behind the client's, beginning with the request id."""
    names = list(body)
    end = names.index(_GATEWAYS_FIRST_FIELD) if _GATEWAYS_FIRST_FIELD in names else len(names)
    return tuple(names[:end])


def _is_plain(name: str, value: Any) -> bool:
    """Whether a field's value can be repeated without repeating a client's words."""
    if name in NUMBERS | SWITCHES:
        return value is None or isinstance(value, (bool, int, float))
    if name in EMPTY_OR_ABSENT and not value:
        return True
    if name == "stop":
        return all(stop in COMMON_STOPS for stop in ([value] if isinstance(value, str) else value))
    if name == "response_format":
        return value in ({"type": "text"}, {"type": "json_object"})
    if name == "stream_options":
        return isinstance(value, dict) and all(
            key in ("include_usage", "continuous_usage_stats") and isinstance(flag, bool)
            for key, flag in value.items()
        )
    return False


def _turns(body: Mapping[str, Any], path: str, identity: Identity) -> tuple[Turn, ...] | None:
    if path == COMPLETIONS_PATH:
        prompt = body.get("prompt")
        return (Turn(role="user", chars=len(prompt)),) if isinstance(prompt, str) else None
    messages = body.get("messages")
    if not isinstance(messages, list) or len(messages) > _MAX_TURNS:
        return None
    turns = [_turn(message, identity) for message in messages]
    known = tuple(turn for turn in turns if turn is not None)
    return known if len(known) == len(turns) and _is_conversation(known) else None


def _turn(message: Any, identity: Identity) -> Turn | None:
    if not isinstance(message, dict) or message.keys() != {"role", "content"}:
        return None
    role, content = message["role"], message["content"]
    text = _only_text(content)
    if text is None or role not in ("system", "developer", "user", "assistant"):
        return None
    return Turn(
        role=role,
        chars=len(text),
        content_first=next(iter(message)) == "content",
        as_parts=isinstance(content, list),
        identity=identity.of(text) if role in ("system", "developer") else "",
    )


def _only_text(content: Any) -> str | None:
    if isinstance(content, str):
        return content
    if not isinstance(content, list) or len(content) != 1:
        return None
    part = content[0]
    if not isinstance(part, dict) or list(part) != ["type", "text"] or part["type"] != "text":
        return None
    return part["text"] if isinstance(part["text"], str) else None


def _is_conversation(turns: Sequence[Turn]) -> bool:
    """An optional system message, then user and assistant in turn, the user first and last."""
    spoken = [turn.role for turn in turns]
    if spoken and spoken[0] in ("system", "developer"):
        spoken = spoken[1:]
    expected = ["user" if place % 2 == 0 else "assistant" for place in range(len(spoken))]
    return len(spoken) % 2 == 1 and spoken == expected
