import json
import random
from typing import Any

import pytest

from shared.inference_paths import CHAT_PATH, COMPLETIONS_PATH
from validator.synthetic_prompts import GrammarPrompts, Opening
from validator.synthetic_requests import (
    KEPT_CONVERSATIONS,
    SEED_LIMIT,
    Conversations,
    Draft,
    RequestWriter,
    stand_in,
    with_seed,
)
from validator.synthetic_shapes import Identity, Shape, Turn, shape_of

IDENTITY = Identity(b"k" * 32)


def writer(seed: int = 1) -> RequestWriter:
    return RequestWriter("m", GrammarPrompts(), IDENTITY, random.Random(seed))


def chat(*turns: Turn, fields: tuple[str, ...] = ("model", "messages"), **values: Any) -> Shape:
    return Shape(path=CHAT_PATH, fields=(*fields, *values), values=values, turns=turns)


def user(chars: int = 40) -> Turn:
    return Turn(role="user", chars=chars)


def conversation(turns: int) -> tuple[Turn, ...]:
    return (*[user(), Turn(role="assistant", chars=30)] * (turns - 1), user())


def test_a_request_has_its_shapes_fields_in_order() -> None:
    shape = chat(user(), fields=("temperature", "messages", "model"), **{"stream": True, "seed": 5})
    shape = shape.model_copy(update={"values": {"temperature": 0.5, "stream": True, "seed": 5}})
    draft = writer().write(shape)
    assert list(draft.body) == ["temperature", "messages", "model", "stream", "seed"]
    assert (draft.body["temperature"], draft.body["model"], draft.body["seed"]) == (0.5, "m", 5)
    assert draft.streamed
    assert json.loads(draft.encoded()) == draft.body


def test_what_is_written_has_the_shape_that_it_was_written_in() -> None:
    asked = Turn(role="user", chars=60, content_first=True, as_parts=True)
    shape = chat(Turn(role="system", chars=29), asked, max_tokens=9, stop=["\n"])
    found = shape_of(CHAT_PATH, writer().write(shape).body, IDENTITY)
    assert found is not None
    assert (found.fields, found.values) == (shape.fields, shape.values)
    assert [(t.role, t.content_first, t.as_parts) for t in found.turns] == [
        (t.role, t.content_first, t.as_parts) for t in shape.turns
    ]


def test_a_completion_has_a_prompt() -> None:
    shape = Shape(path=COMPLETIONS_PATH, fields=("prompt", "model"), values={}, turns=(user(90),))
    draft = writer().write(shape)
    assert list(draft.body) == ["prompt", "model"]
    assert 80 < len(draft.body["prompt"]) < 100
    assert not draft.streamed


def test_a_conversation_that_was_answered_is_gone_on_with_once() -> None:
    own = writer()
    first = own.write(chat(user()))
    own.answered(first, "It is so.")
    second = own.write(chat(*conversation(2)))
    roles = [message["role"] for message in second.body["messages"]]
    assert roles == ["user", "assistant", "user"]
    assert second.body["messages"][0] == first.body["messages"][0]
    assert second.body["messages"][1]["content"] == "It is so."
    third = own.write(chat(*conversation(2)))
    assert [message["role"] for message in third.body["messages"]] == ["user"]


def test_no_answer_is_made_up() -> None:
    draft = writer().write(chat(*conversation(5)))
    assert [message["role"] for message in draft.body["messages"]] == ["user"]


def test_an_empty_answer_ends_a_conversation() -> None:
    own = writer()
    own.answered(own.write(chat(user())), "")
    assert len(own.write(chat(*conversation(2))).body["messages"]) == 1


def test_several_conversations_of_one_language_make_a_long_one() -> None:
    talks = Conversations()
    for number in range(3):
        talks.keep("en", ((f"q{number}", "a"),))
    talks.keep("de", (("frage", "antwort"),))
    taken = talks.take(3, 1000)
    assert taken is not None
    assert taken[0] == "en"
    assert sorted(said for said, _ in taken[1]) == ["q0", "q1", "q2"]
    assert talks.take(3, 1000) == ("de", (("frage", "antwort"),))
    assert talks.take(3, 1000) is None


def test_a_history_is_not_longer_than_wanted() -> None:
    talks = Conversations()
    talks.keep("en", (("x" * 500, "y" * 600),))
    assert talks.take(1, 1000) is None
    assert talks.take(1, 1200) is not None


def test_only_so_many_conversations_are_kept() -> None:
    talks = Conversations()
    for number in range(KEPT_CONVERSATIONS + 5):
        talks.keep("en", ((f"q{number}", "a"),))
    left = []
    while taken := talks.take(1, 100):
        left.append(taken[1][0][0])
    assert len(left) == KEPT_CONVERSATIONS
    assert "q0" not in left


def test_a_known_system_prompt_is_repeated_and_an_unknown_one_has_a_stand_in() -> None:
    own, known = writer(), GrammarPrompts().system_prompts[3]
    turn = Turn(role="system", chars=len(known), identity=IDENTITY.of(known))
    assert own.write(chat(turn, user())).body["messages"][0]["content"] == known
    secret = Turn(role="system", chars=90, identity=IDENTITY.of("a client's own system prompt"))
    drafts = [own.write(chat(secret, user())).body["messages"][0] for _ in range(5)]
    assert all(message == drafts[0] for message in drafts), "one client, one prompt"
    assert drafts[0]["content"] in GrammarPrompts().system_prompts


def test_a_stand_in_is_about_as_long() -> None:
    prompts = ["x" * chars for chars in (10, 20, 100, 110, 120, 130, 1000)]
    for number in range(20):
        turn = Turn(role="system", chars=115, identity=str(number))
        assert 100 <= len(stand_in(turn, prompts)) <= 130
    assert stand_in(Turn(role="system", chars=5), []) == ""


def test_texts_of_a_corpus_are_not_gone_on_with() -> None:
    own = writer()
    draft = Draft(CHAT_PATH, {"messages": []}, False, Opening("from a corpus"))
    own.answered(draft, "answer")
    assert len(own.write(chat(*conversation(2))).body["messages"]) == 1


@pytest.mark.parametrize("seed", [0, 7, -5])
def test_a_request_with_a_seed_keeps_it(seed: int) -> None:
    draft = writer().write(chat(user(), seed=seed))
    assert with_seed(draft, random.Random(1)) == draft


@pytest.mark.parametrize("values", [{}, {"seed": -1}, {"seed": None}])
def test_a_request_without_a_seed_gets_one_at_its_end(values: dict[str, Any]) -> None:
    draft = writer().write(chat(user(), **values))
    seeded = with_seed(draft, random.Random(1))
    assert list(seeded.body)[-1] == "seed"
    assert 0 <= seeded.body["seed"] < SEED_LIMIT
    assert {**seeded.body, "seed": None} == {**draft.body, "seed": None}
