"""The texts that a model is calibrated on: written for this project, in many languages and forms."""

import json
from pathlib import Path
from typing import TypedDict, cast

PROMPTS_FILE = Path(__file__).with_name("calibration_prompts.json")


class ChatMessage(TypedDict):
    """One message of a chat, in the form that chat templates take."""

    role: str
    content: str


Chat = list[ChatMessage]


def calibration_chats(file: Path = PROMPTS_FILE) -> list[Chat]:
    """Every chat: one or more turns, the last message by the assistant."""
    return cast(list[Chat], json.loads(file.read_text(encoding="utf-8"))["chats"])


def as_request(chat: Chat) -> Chat:
    """The chat up to the last user message: what a client would send."""
    return chat[:-1]
