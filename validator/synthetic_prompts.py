"""The texts of synthetic requests, made of a grammar of tasks, topics, languages and forms.

The grammar is public, so whoever reads it can tell that a text could come from it; an operator who has a
corpus of the subnet's own kind of conversations names it instead (`validator/synthetic_corpus.py`).
"""

import json
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, TypeVar

from validator.synthetic_grammar import Grammar

GRAMMAR_FILE = Path(__file__).with_name("synthetic_grammar.json")

DRAWS = 40
"""Texts drawn until one has about the wanted length; the nearest is taken."""

TOLERANCE = 0.05
"""Share by which a text may be longer or shorter than wanted."""

ALWAYS_DOCUMENT_CHARS = 200
MAYBE_DOCUMENT_CHARS = 120
MAYBE_DOCUMENT_SHARE = 0.3
"""Nobody asks a question of more than some 200 characters: longer prompts bring something with them."""

LONGEST_TEXT_CHARS = 200_000

CHANGE_OF_SUBJECT = 0.25
"""Share of later turns that ask something new, in the same chat."""
Drawn = TypeVar("Drawn")

_TYPING_SLIPS = (("lower", 0.12), ("unfinished", 0.12), ("swapped", 0.03))


@dataclass(frozen=True)
class Opening:
    """What a request begins with.

    Attributes:
        text: the user's last message.
        history: earlier (user, assistant) turns.
        language: in which a grammar can go on; "" when it can't.
    """

    text: str
    history: tuple[tuple[str, str], ...] = ()
    language: str = ""


class PromptSource(Protocol):
    """Where texts come from. Lengths are wishes, in characters."""

    system_prompts: Sequence[str]

    def opening(self, turns: int, chars: int, chance: random.Random) -> Opening:
        """A request in which the user speaks for the `turns`-th time at most."""
        ...

    def follow_up(self, language: str, chars: int, chance: random.Random) -> str | None:
        """What a user says to an answer, in a language that an opening named; None if nothing."""
        ...


class GrammarPrompts:
    """Texts of the grammar in `file`."""

    def __init__(self, file: Path = GRAMMAR_FILE) -> None:
        data: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
        self._grammar = Grammar(data["rules"])
        self._languages: Mapping[str, int] = data["languages"]
        self._documents: Mapping[str, Mapping[str, Any]] = data["documents"]
        self.system_prompts: Sequence[str] = data["system_prompts"]

    def opening(self, turns: int, chars: int, chance: random.Random) -> Opening:
        """A first question, whatever `turns` says: what comes before a later one must be answered first."""
        if _wants_document(chars, chance):
            language = self._language(chance)
            return Opening(self._with_document(language, chars, chance), language=language)

        def draw() -> Opening:
            language = self._language(chance)
            text = as_typed(self._grammar.expand(f"ask_{language}", chance), chance)
            return Opening(text, language=language)

        return nearest_in_length(draw, lambda opening: len(opening.text), chars)

    def follow_up(self, language: str, chars: int, chance: random.Random) -> str:
        if _wants_document(chars, chance):
            return self._with_document(language, chars, chance)

        def draw() -> str:
            kind = "ask" if chance.random() < CHANGE_OF_SUBJECT else "follow_up"
            return as_typed(self._grammar.expand(f"{kind}_{language}", chance), chance)

        return nearest_in_length(draw, len, chars)

    def _language(self, chance: random.Random) -> str:
        return chance.choices(list(self._languages), list(self._languages.values()))[0]

    def count(self) -> int:
        """How many different first questions there are, at most."""
        return sum(self._grammar.count(f"ask_{language}") for language in self._languages)

    def _with_document(self, language: str, chars: int, chance: random.Random) -> str:
        """A task and something to do it with, long enough in all."""
        fitting = [name for name, form in self._documents.items() if language in form["languages"]]
        name = chance.choice(fitting or sorted(self._documents.keys() - {"prose", "mail"}))
        form = self._documents[name]
        localized = f"_{language}" if name == "prose" else ""
        ask = self._grammar.expand(form["ask"] + (localized if language != "en" else ""), chance)
        gap = chance.choice(("\n\n", "\n\n", "\n\n", "\n", "\n---\n", "\n\n\n"))
        wanted = min(chars, LONGEST_TEXT_CHARS) - len(ask) - len(gap)
        document = self._document(form, form["line"] + localized, wanted, chance)
        return ask + gap + document if chance.random() < 0.7 else document + gap + ask

    def _document(self, form: Mapping[str, Any], line: str, chars: int, chance: random.Random) -> str:
        text = "\n".join(self._grammar.fill(head, chance) for head in form["head"])
        count = 0
        while True:
            pause = form["pause"] if form["every"] and count and count % form["every"] == 0 else form["joint"]
            longer = text + (pause if count else "\n" if text else "") + self._grammar.expand(line, chance)
            if count and abs(len(longer) - chars) >= abs(len(text) - chars):
                return text
            text, count = longer, count + 1


def _wants_document(chars: int, chance: random.Random) -> bool:
    if chars > ALWAYS_DOCUMENT_CHARS:
        return True
    return chars > MAYBE_DOCUMENT_CHARS and chance.random() < MAYBE_DOCUMENT_SHARE


def nearest_in_length(draw: Callable[[], Drawn], length: Callable[[Drawn], int], chars: int) -> Drawn:
    """The first that is within TOLERANCE of `chars`, or the nearest of DRAWS."""
    best = draw()
    for _ in range(DRAWS - 1):
        if abs(length(best) - chars) <= TOLERANCE * chars:
            break
        best = min(best, draw(), key=lambda drawn: abs(length(drawn) - chars))
    return best


def as_typed(text: str, chance: random.Random) -> str:
    """The text as people type: now and then without a capital, a full stop, or with two letters swapped."""
    slips = {name for name, share in _TYPING_SLIPS if chance.random() < share}
    if "lower" in slips and not text[:2].isupper():
        text = text[:1].lower() + text[1:]
    if "unfinished" in slips:
        text = text.rstrip(".?!")
    if "swapped" in slips and len(text) > 4:
        place = chance.randrange(1, len(text) - 2)
        text = text[:place] + text[place + 1] + text[place] + text[place + 2 :]
    return text
