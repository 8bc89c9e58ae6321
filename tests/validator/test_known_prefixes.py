"""What a miner has served before is recognised in whole blocks, and nothing else is."""

from typing import Any

from bittensor.sp_core import Keypair

from shared.records import RequestRecord
from tests.validator.auditor_examples import CHEAT, HONEST, START_MS, example_record
from validator.known_prefixes import BLOCK_TOKENS, MATURE_MS, KnownPrefixes

LATER = START_MS + MATURE_MS
PROMPT = tuple(range(100))


def served(
    prompt: tuple[int, ...], output: tuple[int, ...] = (7, 8, 9), miner: Keypair = HONEST, **fields: Any
) -> RequestRecord:
    record = example_record(1, miner, finished_at_ms=LATER)
    choice = record.choices[0].model_copy(update={"prompt_token_ids": prompt, "output_token_ids": output})
    return record.model_copy(update={"choices": (choice,)} | fields)


def mature(most: int = 10_000) -> KnownPrefixes:
    prefixes = KnownPrefixes(most)
    assert prefixes.take(served((1, 2, 3), finished_at_ms=START_MS)) is None
    return prefixes


def test_the_same_prompt_is_known_up_to_its_last_whole_block() -> None:
    prefixes = mature()
    assert [prefixes.take(served(PROMPT)) for _ in range(3)] == [0, 96, 96]


def test_a_conversation_that_goes_on_is_known_with_its_answer() -> None:
    prefixes = mature()
    answer = tuple(range(500, 561))
    prefixes.take(served(PROMPT, answer))
    assert prefixes.take(served((*PROMPT, *answer, 1, 2, 3, *range(90)))) == 160
    assert (100 + 60) // BLOCK_TOKENS * BLOCK_TOKENS == 160, "the last token of an answer is never computed"


def test_only_the_common_beginning_is_known() -> None:
    prefixes = mature()
    prefixes.take(served(PROMPT))
    assert prefixes.take(served((*PROMPT[:40], 999, *PROMPT[41:]))) == 32
    assert prefixes.take(served((999, *PROMPT[1:]))) == 0, "a block is known by all that comes before it"


def test_what_another_miner_served_is_not_known() -> None:
    prefixes = mature()
    prefixes.take(served(PROMPT, miner=CHEAT))
    assert prefixes.take(served(PROMPT)) == 0


def test_failed_requests_leave_and_say_nothing() -> None:
    prefixes = mature()
    assert prefixes.take(example_record(2, outcome="failed", finished_at_ms=LATER)) is None
    assert prefixes.take(served(PROMPT, outcome="client_left")) is None
    assert prefixes.take(served(PROMPT)) == 0


def test_nothing_is_said_before_it_has_followed_for_an_hour() -> None:
    prefixes = KnownPrefixes()
    times = (START_MS, START_MS + 1, START_MS + MATURE_MS - 1, START_MS + MATURE_MS)
    assert [prefixes.take(served(PROMPT, finished_at_ms=at)) for at in times] == [None, None, None, 96]


def test_memory_is_bounded_and_the_ends_of_the_oldest_prefixes_go_first() -> None:
    prefixes = mature(most=10)
    other = tuple(range(1000, 1100))
    for prompt in (PROMPT, other, other):
        prefixes.take(served(prompt))
    assert prefixes.take(served(other)) == 96
    assert prefixes.take(served(PROMPT)) == 64


def test_token_ids_that_can_not_be_end_what_is_known() -> None:
    prefixes = mature()
    odd = (*range(20), -1, *range(20), 1 << 80)
    prefixes.take(served(odd))
    assert prefixes.take(served(odd)) == 16
