"""A clientele for tests: five programs with habits of their own, which send chats and completions."""

import json
import math
import random
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from shared.inference_paths import CHAT_PATH, COMPLETIONS_PATH
from tests.gateway.scripted_miner import MODEL, WORDS
from validator.synthetic_corpus import CorpusPrompts, load_corpus
from validator.synthetic_prompts import GrammarPrompts, Opening, PromptSource

ANSWER = "".join(WORDS)
"""What the scripted miner answers to everything."""

Request = tuple[str, dict[str, Any]]


def natural_chars(chance: random.Random) -> int:
    """Lengths as people write: log-normal."""
    return max(3, min(3000, round(chance.lognormvariate(math.log(70), 1.0))))


class Clientele:
    """Sends one request after the other; chats go on with what has been answered."""

    def __init__(self, prompts: PromptSource, chance: random.Random) -> None:
        self._prompts, self._chance = prompts, chance
        self._chats: list[Opening] = []

    def request(self) -> Request:
        programs = (self._chat_app, self._script, self._playground, self._completer, self._library)
        return self._chance.choices(programs, (5, 3, 3, 2, 2))[0]()

    def _talk(self) -> Opening:
        """A first question, or the next one in a chat that has begun; a corpus has its chats ready."""
        chance, chars = self._chance, natural_chars(self._chance)
        if isinstance(self._prompts, CorpusPrompts):
            return self._prompts.opening(chance.choice((1, 1, 2, 3)), chars, chance)
        if self._chats and chance.random() < 0.4:
            before = self._chats.pop(chance.randrange(len(self._chats)))
            history = (*before.history, (before.text, ANSWER))
            text = self._prompts.follow_up(before.language, chars, chance)
            talk = Opening(text or "", history, before.language)
        else:
            talk = self._prompts.opening(1, chars, chance)
        if len(talk.history) < 4:
            self._chats.append(talk)
        return talk

    def _messages(self, system: int | None) -> list[dict[str, Any]]:
        talk = self._talk()
        messages = [] if system is None else [("system", self._prompts.system_prompts[system])]
        for said, answered in talk.history:
            messages += [("user", said), ("assistant", answered)]
        return [{"role": role, "content": text} for role, text in [*messages, ("user", talk.text)]]

    def _single(self) -> str:
        return self._prompts.opening(1, natural_chars(self._chance), self._chance).text

    def _chat_app(self) -> Request:
        fixed = {
            "stream": True,
            "temperature": 0.7,
            "max_tokens": 512,
            "stream_options": {"include_usage": True},
        }
        return CHAT_PATH, {"model": MODEL, "messages": self._messages(0), **fixed}

    def _script(self) -> Request:
        system = {"role": "system", "content": self._prompts.system_prompts[1]}
        messages = [system, {"role": "user", "content": self._single()}]
        return CHAT_PATH, {
            "messages": messages,
            "model": MODEL,
            "temperature": 0,
            "max_tokens": 256,
            "seed": 42,
        }

    def _playground(self) -> Request:
        chance = self._chance
        body = {
            "temperature": round(chance.uniform(0, 1.5), 2),
            "top_p": round(chance.uniform(0.5, 1), 3),
            "messages": self._messages(None),
            "max_tokens": chance.randint(50, 1000),
            "presence_penalty": chance.choice((0, 0.5, 1.1)),
            "stream": chance.random() < 0.5,
        }
        return CHAT_PATH, body

    def _completer(self) -> Request:
        chance = self._chance
        body = {
            "model": MODEL,
            "prompt": self._single(),
            "max_tokens": chance.choice((16, 64, 200)),
            "stop": chance.choice((["\n"], "\n\n", None)),
            "seed": chance.randrange(1 << 31),
        }
        return COMPLETIONS_PATH, body | ({"n": 2} if chance.random() < 0.3 else {})

    def _library(self) -> Request:
        text = {"type": "text", "text": self._single()}
        body = {
            "messages": [{"content": [text], "role": "user"}],
            "model": MODEL,
            "n": 1,
            "store": False,
            "stream": False,
            "seed": self._chance.randrange(1 << 62),
        }
        return CHAT_PATH, body


def two_halves(folder: Path, chance: random.Random, count: int = 3000) -> tuple[CorpusPrompts, CorpusPrompts]:
    """One corpus of conversations with shared system prompts, split at random."""
    grammar = GrammarPrompts()
    lines = [json.dumps({"messages": _conversation(grammar, chance)}) for _ in range(count)]
    return _stored(folder / "a.jsonl", lines[: count // 2]), _stored(folder / "b.jsonl", lines[count // 2 :])


def _stored(file: Path, lines: Iterable[str]) -> CorpusPrompts:
    file.write_text("\n".join(lines), encoding="utf-8")
    return load_corpus(file)


def _conversation(grammar: GrammarPrompts, chance: random.Random) -> list[dict[str, str]]:
    opening = grammar.opening(1, natural_chars(chance), chance)
    said = [opening.text]
    while len(said) < 4 and chance.random() < 0.6:
        said.append(grammar.follow_up(opening.language, natural_chars(chance), chance))
    messages = [{"role": "system", "content": chance.choice(grammar.system_prompts)}]
    for text in said:
        messages += [{"role": "user", "content": text}, {"role": "assistant", "content": ANSWER}]
    return messages
