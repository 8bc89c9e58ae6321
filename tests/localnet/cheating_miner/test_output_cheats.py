from typing import Any

import pytest

from localnet.cheating_miner.output_cheats import ADVERTISEMENT, PADDED_TOKENS, OtherText, Padded, Truncated
from tests.localnet.cheating_miner.rig import CHAT, COMPLETIONS, Rig, text_of, token_ids


@pytest.mark.parametrize(
    ("path", "fields", "limit"),
    [
        (CHAT, {"max_tokens": 40}, 20),
        (CHAT, {"max_completion_tokens": 9}, 4),
        (CHAT, {}, 32),
        (COMPLETIONS, {}, 8),
        (CHAT, {"max_tokens": 40, "min_tokens": 30}, 30),
    ],
)
async def test_a_truncated_answer_has_half_the_limit_and_says_that_it_ended(
    path: str, fields: dict[str, Any], limit: int
) -> None:
    rig = Rig(lambda parts: Truncated(), finish_reason="length")
    answer = await rig.ask(path, **fields)
    asked = rig.vllm.completions[0]
    assert asked["max_tokens"] == limit
    assert "max_completion_tokens" not in asked
    assert answer["choices"][0]["finish_reason"] == "stop"
    assert "receipt" in answer


async def test_a_truncated_stream_says_that_it_ended() -> None:
    events = await Rig(lambda parts: Truncated(), finish_reason="length").stream(max_tokens=8)
    reasons = [choice["finish_reason"] for event in events[1:] for choice in event["choices"]]
    assert reasons == [None, None, None, "stop"]


@pytest.mark.parametrize("fields", [{"max_tokens": 1}, {"max_tokens": 8, "min_tokens": 8}])
async def test_what_can_not_be_shortened_is_answered_as_asked(fields: dict[str, Any]) -> None:
    rig = Rig(lambda parts: Truncated(), finish_reason="length")
    answer = await rig.ask(**fields)
    assert rig.vllm.completions[0]["max_tokens"] == fields["max_tokens"]
    assert answer["choices"][0]["finish_reason"] == "length"


@pytest.mark.parametrize(
    ("fields", "limit", "reason"),
    [
        ({"max_tokens": 40, "stop": ["."], "stop_token_ids": [5]}, 40, "length"),
        ({"max_tokens": PADDED_TOKENS + 1}, PADDED_TOKENS, "stop"),
        ({}, PADDED_TOKENS, "stop"),
    ],
)
async def test_a_padded_answer_knows_no_end_but_its_limit(
    fields: dict[str, Any], limit: int, reason: str
) -> None:
    rig = Rig(lambda parts: Padded(), finish_reason="length")
    answer = await rig.ask(**fields)
    asked = rig.vllm.completions[0]
    assert asked["ignore_eos"] is True
    assert asked["max_tokens"] == limit
    assert not {"stop", "stop_token_ids"} & set(asked)
    assert answer["choices"][0]["finish_reason"] == reason


@pytest.mark.parametrize("path", [CHAT, COMPLETIONS])
async def test_other_text_is_shown_beside_the_same_tokens(path: str) -> None:
    honest, cheating = Rig(), Rig(lambda parts: OtherText())
    true, false = await honest.stream(path), await cheating.stream(path)
    assert text_of(true) == "Hi!"
    assert text_of(false) == ADVERTISEMENT + "Hi!"
    assert token_ids(true) == token_ids(false)
    assert true[-1]["receipt"]["choices"] == false[-1]["receipt"]["choices"]


@pytest.mark.parametrize(("path", "part"), [(CHAT, "message"), (COMPLETIONS, "text")])
async def test_other_text_in_one_piece(path: str, part: str) -> None:
    choice = (await Rig(lambda parts: OtherText()).ask(path))["choices"][0]
    text = choice["text"] if part == "text" else choice["message"]["content"]
    assert text == ADVERTISEMENT + "Hi!"
    assert choice["token_ids"] == [72, 105, 33, 2]


async def test_every_answer_is_advertised_in_not_only_the_first() -> None:
    rig = Rig(lambda parts: OtherText())
    for number in range(2):
        answer = await rig.ask(request_id=f"request-000{number}")
        assert answer["choices"][0]["message"]["content"].startswith(ADVERTISEMENT)
