import json
import random
from collections import Counter
from pathlib import Path

import pytest

from shared.errors import ConfigError
from validator.synthetic_corpus import CorpusPrompts, load_corpus
from validator.synthetic_grammar import Grammar
from validator.synthetic_prompts import GrammarPrompts, as_typed, nearest_in_length

PROMPTS = GrammarPrompts()


def test_slots_are_rules_and_numbers() -> None:
    grammar = Grammar({"greeting": ["Hi {name}, {#3-4}"], "name": ["Ann", "Bob"]})
    chance = random.Random(1)
    found = {grammar.expand("greeting", chance) for _ in range(100)}
    assert found == {"Hi Ann, 3", "Hi Ann, 4", "Hi Bob, 3", "Hi Bob, 4"}
    assert grammar.count("greeting") == 4


def test_weights_decide_how_often_a_template_is_taken() -> None:
    grammar = Grammar({"word": {"often": 9, "seldom": 1}})
    chance = random.Random(2)
    counts = Counter(grammar.expand("word", chance) for _ in range(2000))
    assert 0.86 < counts["often"] / 2000 < 0.94


def test_other_braces_are_left_alone() -> None:
    assert Grammar({"code": ['{"a": {#1-1}}']}).expand("code", random.Random(1)) == '{"a": 1}'


@pytest.mark.parametrize(
    ("rules", "words"),
    [({"a": ["{b}"]}, "no rule 'b'"), ({"a": ["{b}"], "b": ["x {a}"]}, "contains itself")],
)
def test_a_grammar_that_could_not_be_expanded_is_refused(rules: dict[str, list[str]], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        Grammar(rules)


def test_there_are_more_first_questions_than_anybody_could_list() -> None:
    assert PROMPTS.count() > 1e9


def test_questions_of_ordinary_length_are_seldom_the_same() -> None:
    chance = random.Random(3)
    texts = [PROMPTS.opening(1, 90, chance).text for _ in range(2000)]
    assert len(set(texts)) > 1900


@pytest.mark.parametrize("chars", [30, 80, 150, 250, 400, 1500, 20_000])
def test_texts_are_about_as_long_as_wanted(chars: int) -> None:
    chance = random.Random(4)
    lengths = sorted(len(PROMPTS.opening(1, chars, chance).text) for _ in range(60))
    assert 0.85 * chars < lengths[30] < 1.15 * chars
    assert max(lengths) < 1.5 * chars + 60


def test_many_languages_and_forms_occur() -> None:
    chance = random.Random(5)
    openings = [PROMPTS.opening(1, chance.choice((12, 40, 90, 200, 600)), chance) for _ in range(3000)]
    assert len({opening.language for opening in openings}) == 12
    texts = "\n".join(opening.text for opening in openings)
    for form in ("def ", "SQL", '{"id": ', "INFO", "什么", "nedir", "ß", "¿", "Что"):
        assert form in texts


def test_a_conversation_goes_on_in_its_language() -> None:
    chance = random.Random(6)
    follow_ups = {PROMPTS.follow_up("ja", chars, chance) for chars in range(6, 30) for _ in range(5)}
    assert all(any(ord(character) > 0x3000 for character in text) for text in follow_ups)
    assert len(follow_ups) > 30


def test_the_same_chance_gives_the_same_text() -> None:
    first, second = (PROMPTS.opening(1, 300, random.Random(7)) for _ in range(2))
    assert first == second != PROMPTS.opening(1, 300, random.Random(8))


def test_typing_slips_are_rare_and_change_little() -> None:
    chance = random.Random(9)
    typed = [as_typed("What is the water cycle?", chance) for _ in range(2000)]
    assert 0.65 < typed.count("What is the water cycle?") / 2000 < 0.85
    assert all(len(text) in (23, 24) for text in typed)
    assert as_typed("hi", random.Random(1)) in ("hi", "Hi")


def test_the_nearest_in_length_is_taken() -> None:
    lengths = iter([3, 9, 30, *[50] * 100])
    assert nearest_in_length(lambda: "x" * next(lengths), len, 10) == "x" * 9


def stored(folder: Path, *lines: object) -> Path:
    file = folder / "corpus.jsonl"
    file.write_text("\n".join(json.dumps(line) for line in lines) + "\n\n", encoding="utf-8")
    return file


def said(text: str, *more: str, system: str | None = None) -> list[dict[str, str]]:
    messages = [] if system is None else [{"role": "system", "content": system}]
    roles = ("user", "assistant")
    return messages + [{"role": roles[n % 2], "content": one} for n, one in enumerate((text, *more))]


def test_both_forms_of_a_corpus_line_are_read(tmp_path: Path) -> None:
    corpus = load_corpus(stored(tmp_path, said("one", system="Be brief."), {"messages": said("two")}))
    found = {corpus.opening(1, 3, random.Random(1)).text for _ in range(2)}
    assert found == {"one", "two"}
    assert corpus.system_prompts == ["Be brief."]


def test_no_conversation_is_used_again_before_all_have_been(tmp_path: Path) -> None:
    corpus = load_corpus(stored(tmp_path, *(said(f"question {number}") for number in range(50))))
    chance = random.Random(2)
    for _ in range(2):
        assert len({corpus.opening(1, 10, chance).text for _ in range(50)}) == 50


def test_a_later_turn_comes_with_what_was_said_before(tmp_path: Path) -> None:
    corpus = load_corpus(stored(tmp_path, said("a", "b", "c", "d", "e"), said("short")))
    opening = corpus.opening(3, 1, random.Random(3))
    assert (opening.text, opening.history, opening.language) == ("e", (("a", "b"), ("c", "d")), "")
    assert corpus.follow_up("en", 5, random.Random(3)) is None


def test_when_no_conversation_is_long_enough_another_is_taken(tmp_path: Path) -> None:
    corpus = load_corpus(stored(tmp_path, said("a", "b", "c")))
    assert corpus.opening(5, 1, random.Random(4)).text == "c"


def test_the_conversation_of_the_wanted_length_is_taken(tmp_path: Path) -> None:
    corpus = load_corpus(stored(tmp_path, *(said("x" * chars) for chars in (2, 20, 200, 2000))))
    assert isinstance(corpus, CorpusPrompts)
    assert len(corpus.opening(1, 180, random.Random(5)).text) == 200


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("nonsense", "line 1 is not JSON"),
        ('{"messages": "hello"}', "in turn"),
        ("[]", "in turn"),
        ('[{"role": "assistant", "content": "x"}]', "in turn"),
        ('[{"role": "user", "content": 5}]', "without a role and a text"),
        ("", "has no conversation"),
    ],
)
def test_a_corpus_with_an_error_is_refused_in_words(tmp_path: Path, line: str, words: str) -> None:
    file = tmp_path / "corpus.jsonl"
    file.write_text(line)
    with pytest.raises(ConfigError, match=words):
        load_corpus(file)


def test_a_missing_corpus_is_refused_in_words(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="can't be read"):
        load_corpus(tmp_path / "none.jsonl")
