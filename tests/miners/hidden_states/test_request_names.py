import pytest
from hypothesis import given
from hypothesis import strategies as st

from miners.hidden_states.request_names import ChoiceName, is_replay, parse_choice

BASES = st.from_regex(r"[A-Za-z0-9_-]{8,64}", fullmatch=True)
SUFFIXES = st.from_regex(r"[0-9a-f]{8}", fullmatch=True)
SMALL = st.integers(0, 127)


@given(BASES, SUFFIXES)
def test_a_chat_request_is_its_only_choice(base: str, suffix: str) -> None:
    assert parse_choice(f"chatcmpl-{base}-{suffix}") == ChoiceName(base, 0)


@given(BASES, SUFFIXES, SMALL)
def test_a_chat_child_is_the_choice_of_its_number(base: str, suffix: str, child: int) -> None:
    assert parse_choice(f"{child}_chatcmpl-{base}-{suffix}", 128) == ChoiceName(base, child)


@given(BASES, SUFFIXES, SMALL)
def test_a_prompt_without_children_is_the_choice_of_its_number(base: str, suffix: str, prompt: int) -> None:
    assert parse_choice(f"cmpl-{base}-{prompt}-{suffix}") == ChoiceName(base, prompt)


@given(BASES, SUFFIXES, SMALL, st.integers(1, 16), st.data())
def test_children_of_several_prompts_are_numbered_prompt_by_prompt(
    base: str, suffix: str, prompt: int, n: int, data: st.DataObject
) -> None:
    child = data.draw(st.integers(0, n - 1))
    assert parse_choice(f"{child}_cmpl-{base}-{prompt}-{suffix}", n) == ChoiceName(base, prompt * n + child)


@given(BASES, SUFFIXES, SMALL, st.integers(2, 1000))
def test_a_request_without_children_cannot_claim_siblings(
    base: str, suffix: str, prompt: int, claimed: int
) -> None:
    assert parse_choice(f"cmpl-{base}-{prompt}-{suffix}", claimed) == ChoiceName(base, prompt)


@pytest.mark.parametrize(
    "name",
    [
        "",
        "abcdefgh",
        "chatcmpl-abcdefgh",
        "chatcmpl-short-00000000",
        "chatcmpl-abcd efgh-00000000",
        "chatcmpl-abcdefgh-0000000g",
        "chatcmpl-abcdefgh-00000000\n",
        "cmpl-abcdefgh-00000000",
        "x_chatcmpl-abcdefgh-00000000",
        "generate-tokens-abcdefgh-00000000",
        "replay-0123456789abcdef-00000000",
        f"chatcmpl-{'a' * 65}-00000000",
    ],
)
def test_anything_else_is_nobodys_choice(name: str) -> None:
    assert parse_choice(name) is None


def test_an_id_that_looks_like_a_prompt_number_keeps_it() -> None:
    assert parse_choice("cmpl-abcdefgh-1-0-00000000") == ChoiceName("abcdefgh-1", 0)


@given(BASES, SUFFIXES)
def test_no_client_request_is_a_replay(base: str, suffix: str) -> None:
    assert not is_replay(f"chatcmpl-{base}-{suffix}")
    assert not is_replay(f"cmpl-{base}-0-{suffix}")
    assert is_replay(f"replay-{suffix}")
