import orjson
import pytest

from localnet.cheating_miner.prompt_cheats import SYSTEM_PROMPT, EditedTemplate, OwnSystemPrompt, PromptCheat
from shared.canonical import token_ids_digest
from shared.receipts import parse_receipt
from tests.localnet.cheating_miner.rig import (
    CHAT,
    COMPLETIONS,
    HELLO,
    ID,
    Rig,
    prompt_ids,
    row,
)

TRUE_PROMPT = prompt_ids({"messages": HELLO})


def cheats() -> list[PromptCheat]:
    return [OwnSystemPrompt(), EditedTemplate("{{ messages }}")]


@pytest.mark.parametrize("cheat", cheats(), ids=lambda cheat: type(cheat).__name__)
async def test_another_prompt_is_computed_and_the_true_one_is_shown(cheat: PromptCheat) -> None:
    rig = Rig(lambda parts: cheat)
    answer = await rig.ask()
    computed = prompt_ids(rig.vllm.completions[0])
    assert computed != TRUE_PROMPT
    assert answer["prompt_token_ids"] == TRUE_PROMPT
    assert answer["usage"] == {
        "prompt_tokens": len(TRUE_PROMPT),
        "completion_tokens": 4,
        "total_tokens": len(TRUE_PROMPT) + 4,
    }
    receipt = parse_receipt(orjson.dumps(answer["receipt"]))
    assert receipt.choices[0].prompt_digest == token_ids_digest(TRUE_PROMPT)


@pytest.mark.parametrize("cheat", cheats(), ids=lambda cheat: type(cheat).__name__)
async def test_the_commitment_covers_the_true_prompt_with_the_other_ones_sketches(cheat: PromptCheat) -> None:
    rig = Rig(lambda parts: cheat)
    await rig.ask()
    shift = len(prompt_ids(rig.vllm.completions[0])) - len(TRUE_PROMPT)
    held = rig.commitments.get(ID)
    assert held is not None
    last = len(TRUE_PROMPT) - 1
    number = held.points().points.index(next(p for p in held.points().points if p.position == last))
    sketch = held.sketches[number * 128 : (number + 1) * 128]
    assert sketch == row(last + shift)[:128]
    assert sketch != row(last)[:128]


@pytest.mark.parametrize("cheat", cheats(), ids=lambda cheat: type(cheat).__name__)
async def test_a_stream_shows_the_true_prompt(cheat: PromptCheat) -> None:
    events = await Rig(lambda parts: cheat).stream()
    assert events[0]["prompt_token_ids"] == TRUE_PROMPT
    assert "receipt" in events[-1]


async def test_the_own_prompt_comes_before_the_clients() -> None:
    rig = Rig(lambda parts: OwnSystemPrompt())
    await rig.ask(messages=[{"role": "system", "content": "Rhyme."}, *HELLO])
    first = rig.vllm.completions[0]["messages"][0]
    assert first == {"role": "system", "content": f"{SYSTEM_PROMPT}\nRhyme."}


async def test_a_system_prompt_in_parts_gets_another_message_before_it() -> None:
    rig = Rig(lambda parts: OwnSystemPrompt())
    await rig.ask(messages=[{"role": "system", "content": [{"type": "text", "text": "Rhyme."}]}, *HELLO])
    assert rig.vllm.completions[0]["messages"][0]["content"] == SYSTEM_PROMPT


async def test_the_template_is_edited_at_its_end_only() -> None:
    rig = Rig(lambda parts: EditedTemplate("{{ messages }}"))
    await rig.ask()
    assert rig.vllm.completions[0]["chat_template"] == "{{ messages }}{{ '\\n' }}"


async def test_completions_have_no_template_and_stay_as_they_are() -> None:
    rig = Rig(lambda parts: OwnSystemPrompt())
    answer = await rig.ask(COMPLETIONS)
    assert rig.vllm.completions[0]["prompt"] == "Once"
    assert "vllm_xargs" not in rig.vllm.completions[0]
    assert "receipt" in answer


async def test_a_chat_that_vllm_refuses_is_refused_in_its_words() -> None:
    connection = await Rig(lambda parts: OwnSystemPrompt(), refuses=True).post(CHAT, messages=HELLO)
    assert connection.status == 400


async def test_a_request_that_gets_no_receipt_leaves_no_claim_behind() -> None:
    cheat = OwnSystemPrompt()
    rig = Rig(lambda parts: cheat)
    rig.vllm.answers_prompt = False
    assert "receipt" not in await rig.ask()
    assert cheat.claims == {}
    assert len(rig.engine.store) == 0
