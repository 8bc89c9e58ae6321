from collections.abc import AsyncIterator, Iterator, Sequence
from typing import Any

import orjson
import pytest

from gateway.metering import Tally
from localnet.cheating_miner.cheap_writer import Sampling
from localnet.cheating_miner.cheat import MinerParts
from localnet.cheating_miner.prefill_attack import PrefillAttack, Surroundings, engine_reads
from shared.answer_text import text_place
from shared.canonical import token_ids_digest
from shared.receipts import check_receipt, parse_receipt
from tests.localnet.cheating_miner.rig import (
    CHAT,
    COMPLETIONS,
    HELLO,
    ID,
    MODEL,
    Rig,
    prompt_ids,
    row,
    text_of,
    token_ids,
)

PROMPT = prompt_ids({"messages": HELLO})
END = 0
LONGEST = 200


class Script:
    """Writes the letters of a text, then the end; remembers what it was asked for."""

    def __init__(self, text: str = "Cheap words") -> None:
        self._text = text
        self.asked: list[tuple[list[int], Sampling]] = []

    def write(self, prompt: Sequence[int], sampling: Sampling) -> Iterator[int]:
        self.asked.append((list(prompt), sampling))
        yield from [*map(ord, self._text), END][: sampling.max_tokens]

    def ends(self, token: int) -> bool:
        return token == END


def decode(ids: Sequence[int]) -> str:
    """Letters; the id 7 alone is half of an é, as tokens of incomplete characters are."""
    text = "".join(chr(i) for i in ids if i not in (END, 8, 7))
    return text + ("\ufffd" if ids[-1] == 7 else "é" if 7 in ids else "")


class Attack(Rig):
    """A rig under the prefill attack; what the true model is given to read is kept."""

    def __init__(self, writer: Script | None = None) -> None:
        self.writer = writer or Script()
        self.read: list[tuple[str, list[int]]] = []
        super().__init__(self._make)

    def _make(self, parts: MinerParts) -> PrefillAttack:
        async def read(name: str, ids: Sequence[int], arguments: dict[str, int]) -> None:
            self.read.append((name, list(ids)))
            self.engine.run(name, len(ids), 1, arguments)

        defaults = {"temperature": 1.0, "top_p": 0.8, "top_k": 0}
        around = Surroundings(MODEL, "vllm-0", LONGEST, defaults, decode, read, lambda: 5.0)
        return PrefillAttack(self.writer, around)


OUTPUT = [*map(ord, "Cheap words"), END]


@pytest.mark.parametrize("path", [CHAT, COMPLETIONS])
async def test_a_cheap_text_is_streamed_and_committed_to_as_if_the_true_model_had_written_it(
    path: str,
) -> None:
    rig = Attack()
    events = await rig.stream(path, max_tokens=50)
    prompt = PROMPT if path == CHAT else prompt_ids({"prompt": "Once"})
    assert (text_of(events), token_ids(events)) == ("Cheap words", OUTPUT)
    assert rig.vllm.completions == []
    assert rig.read == [(f"cmpl-{ID}-0", prompt + OUTPUT[:-1])]
    receipt = parse_receipt(orjson.dumps(events[-1]["receipt"]))
    check_receipt(receipt)
    (choice,) = receipt.choices
    assert choice.prompt_digest == token_ids_digest(prompt)
    assert choice.output_digest == token_ids_digest(OUTPUT)
    held = rig.commitments.get(ID)
    assert held is not None
    positions = choice.shape().positions(ID)
    assert held.sketches == b"".join(row(position) for position in positions)
    assert positions[-1] < len(prompt) + len(OUTPUT) - 1


@pytest.mark.parametrize("path", [CHAT, COMPLETIONS])
async def test_an_answer_in_one_piece(path: str) -> None:
    answer = await Attack().ask(path, max_tokens=50)
    choice = answer["choices"][0]
    assert "Cheap words" in (choice["text"] if path == COMPLETIONS else choice["message"]["content"])
    assert (choice["token_ids"], choice["finish_reason"]) == (OUTPUT, "stop")
    prompt = PROMPT if path == CHAT else prompt_ids({"prompt": "Once"})
    assert answer["usage"]["prompt_tokens"] == len(prompt)
    assert answer["usage"]["total_tokens"] == len(prompt) + len(OUTPUT)
    assert "receipt" in answer


@pytest.mark.parametrize("path", [CHAT, COMPLETIONS])
async def test_the_gateway_meters_it_like_any_other(path: str) -> None:
    streamed, whole = await Attack().stream(path, n=2), [await Attack().ask(path, n=2)]
    for payloads, in_events in ((streamed, True), (whole, False)):
        tally = Tally(text_place(path == CHAT, in_events))
        for payload in payloads:
            tally.add(payload, 1.0)
        tally.check_complete()
        length = min(len(OUTPUT), 16)
        assert [len(choice.output_token_ids) for choice in tally.choices()] == [length, length]
        assert [choice.finish_reason for choice in tally.choices()] == ["stop", "stop"]


async def test_a_text_that_meets_its_limit_says_so() -> None:
    events = await Attack().stream(max_tokens=5)
    assert text_of(events) == "Cheap"
    assert events[-2]["choices"][0]["finish_reason"] == "length"


async def test_half_a_character_waits_for_its_other_half() -> None:
    events = await Attack(Script("a\x07\x08")).stream()
    texts = [choice["delta"]["content"] for event in events[1:-1] for choice in event["choices"]]
    assert texts == ["a", "", "é", ""]


async def test_half_a_character_at_the_end_is_never_sent() -> None:
    events = await Attack(Script("a\x07")).stream(max_tokens=2)
    assert text_of(events) == "a"
    assert token_ids(events) == [97, 7]


async def test_usage_comes_when_it_is_asked_for() -> None:
    events = await Attack().stream(stream_options={"include_usage": True})
    assert events[-2]["usage"]["completion_tokens"] == len(OUTPUT)
    assert not any("usage" in event for event in await Attack().stream())


async def test_the_writer_samples_as_it_was_asked_to_or_as_the_model_does_by_default() -> None:
    rig = Attack()
    await rig.ask(temperature=0.3, seed=9, n=2)
    assert [sampling for _, sampling in rig.writer.asked] == [
        Sampling(0.3, 0.8, 0, 9, LONGEST - len(PROMPT)),
        Sampling(0.3, 0.8, 0, 10, LONGEST - len(PROMPT)),
    ]
    assert [name for name, _ in rig.read] == [f"cmpl-{ID}-0", f"cmpl-{ID}-1"]


@pytest.mark.parametrize(
    "fields",
    [
        {"stop": ["."]},
        {"logprobs": True},
        {"presence_penalty": 0.5},
        {"max_tokens": LONGEST},
        {"response_format": {"type": "json_object"}},
    ],
)
async def test_what_the_writer_can_not_do_goes_to_the_true_model(fields: dict[str, Any]) -> None:
    rig = Attack()
    answer = await rig.ask(**fields)
    assert rig.writer.asked == []
    assert len(rig.vllm.completions) == 1
    assert answer["choices"][0]["message"]["content"] == "Hi!"


async def test_a_field_without_a_value_keeps_no_request_from_the_writer() -> None:
    rig = Attack()
    await rig.ask(stop=None, logprobs=None)
    assert len(rig.writer.asked) == 1


async def test_several_prompts_go_to_the_true_model_and_one_of_ids_does_not() -> None:
    rig = Attack()
    rig.vllm.refuses = True
    await rig.post(COMPLETIONS, prompt=["Once", "Twice"])
    assert rig.writer.asked == []
    await rig.post(COMPLETIONS, request_id="request-0002", prompt=[5, 6, 7])
    assert rig.writer.asked[0][0] == [5, 6, 7]


async def test_the_engine_reads_everything_itself_and_writes_nothing_that_counts() -> None:
    class Client:
        async def generate(self, prompt: Any, sampling: Any, name: str) -> AsyncIterator[None]:
            asked.append((prompt, sampling, name))
            yield None

    asked: list[Any] = []
    await engine_reads(Client())(f"cmpl-{ID}-0", (1, 2, 3), {"claimed_prompt_tokens": 2})
    ((prompt, sampling, name),) = asked
    assert (prompt, name) == ({"prompt_token_ids": [1, 2, 3]}, f"cmpl-{ID}-0")
    assert sampling.skip_reading_prefix_cache is True
    assert sampling.max_tokens == 1
    assert sampling.extra_args == {"claimed_prompt_tokens": 2}
