"""Where answers may end: honest ends pass, and each way of ending earlier or later fails in words."""

from collections.abc import Callable
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from transformers import PreTrainedTokenizerBase

from shared.model_identity import LEAST_CONTEXT_TOKENS
from shared.records import ChoiceRecord, Outcome
from tests.models import demo_model
from tests.validator.auditor_examples import example_record
from validator.detokenization import TextDecoder, TextRule
from validator.findings import Finding
from validator.model_tokenizer import load_tokenizer
from validator.sampling_rules import SamplingRule
from validator.stop_rules import check_stop

EOS = 2
"""<|im_end|> of the demo model."""

END_OF_FILE = 0
PROMPT = (1, 9, 20)
RULE = SamplingRule(
    seed=1, max_tokens=8, end_token_ids=frozenset({EOS}), held_back_token_ids=frozenset({EOS})
)

Write = Callable[[str], tuple[int, ...]]


@pytest.fixture(scope="module")
def tokenizer() -> PreTrainedTokenizerBase:
    return load_tokenizer(str(demo_model()))


@pytest.fixture(scope="module")
def decoder(tokenizer: PreTrainedTokenizerBase) -> TextDecoder:
    return TextDecoder(tokenizer)


@pytest.fixture(scope="module")
def write(tokenizer: PreTrainedTokenizerBase) -> Write:
    return lambda text: tuple(tokenizer(text)["input_ids"])


class NoText:
    """A decoder for rules without stop strings, which need no text."""

    def sent_texts(self, *_: object) -> frozenset[str]:
        raise AssertionError("nothing has to be decoded")


def found(
    rule: SamplingRule,
    output: tuple[int, ...],
    finish: str | None,
    decoder: TextDecoder | NoText | None = None,
    outcome: Outcome = "answered",
    prompt: tuple[int, ...] = PROMPT,
) -> Finding | None:
    choice = ChoiceRecord(index=0, prompt_token_ids=prompt, output_token_ids=output, finish_reason=finish)
    record = example_record(1).model_copy(update={"choices": (choice,), "outcome": outcome})
    return check_stop(rule, record, decoder or NoText())


def reason(finding: Finding | None) -> str:
    assert finding is not None
    assert (finding.outcome, finding.check) == ("fail", "tokens")
    return finding.reason


def test_an_answer_may_end_with_an_end_token() -> None:
    assert found(RULE, (5, 6, EOS), "stop") is None
    assert found(RULE, (EOS,), "stop") is None


def test_an_answer_may_end_with_max_tokens() -> None:
    assert found(RULE, (5,) * 8, "length") is None


def test_a_stop_without_an_end_token_is_a_truncated_answer() -> None:
    assert "ends after 2 tokens without a stop token" in reason(found(RULE, (5, 6), "stop"))


def test_an_empty_answer_that_stopped_is_a_truncated_answer() -> None:
    assert "ends after 0 tokens" in reason(found(RULE, (), "stop"))


def test_ending_for_the_length_before_max_tokens_is_a_truncated_answer() -> None:
    assert "before max_tokens 8" in reason(found(RULE, (5,) * 7, "length"))


def test_a_full_context_may_end_an_answer_early() -> None:
    unbounded = replace(RULE, max_tokens=None)
    filled = (1,) * (LEAST_CONTEXT_TOKENS - 3)
    assert found(unbounded, (5, 6, 7), "length", prompt=filled) is None
    assert "for its length" in reason(found(unbounded, (5, 6), "length", prompt=filled))


def test_the_context_can_be_named() -> None:
    choice = ChoiceRecord(index=0, prompt_token_ids=PROMPT, output_token_ids=(5, 6), finish_reason="length")
    record = example_record(1).model_copy(update={"choices": (choice,)})
    assert check_stop(RULE, record, NoText(), context_limit=5) is None
    assert check_stop(RULE, record, NoText(), context_limit=6) is not None


def test_more_tokens_than_asked_for_are_padding() -> None:
    assert "has 9 tokens, 8 were asked for" in reason(found(RULE, (5,) * 9, "length"))


@pytest.mark.parametrize("finish", ["stop", "length", None])
def test_tokens_after_an_end_token_are_padding(finish: str | None) -> None:
    assert "after the end token at number 2 of 4" in reason(found(RULE, (5, EOS, 6, EOS), finish))


def test_ignored_end_tokens_may_come_anywhere() -> None:
    rule = replace(RULE, end_token_ids=frozenset(), ignore_eos=True)
    assert found(rule, (EOS,) * 8, "length") is None
    assert "without a stop" in reason(found(rule, (5, EOS), "stop"))


def test_asked_for_stop_tokens_end_an_answer_too() -> None:
    rule = replace(RULE, end_token_ids=frozenset({EOS, 77}))
    assert found(rule, (5, 77), "stop") is None
    assert found(RULE, (5, 77), "stop") is not None


def test_an_end_token_before_min_tokens_fails() -> None:
    rule = replace(RULE, min_tokens=3)
    assert "number 3, before min_tokens 3" in reason(found(rule, (5, 6, EOS), "stop"))
    assert found(rule, (5, 6, 7, EOS), "stop") is None


def test_where_only_end_tokens_are_allowed_any_may_come_early() -> None:
    rule = replace(RULE, min_tokens=3, allowed_token_ids=(EOS,))
    assert found(rule, (EOS,), "stop") is None


@pytest.mark.parametrize("finish", [None, "abort", "error", "repetition", "content_filter"])
def test_a_whole_answer_needs_a_finish_reason_of_vllm(finish: str | None) -> None:
    assert "finish reason" in reason(found(RULE, (5, 6), finish))


def test_an_answer_that_the_client_left_may_end_anywhere() -> None:
    for finish in (None, "abort", "stop"):
        assert found(RULE, (5, 6), finish, outcome="client_left") is None
        assert found(RULE, (), finish, outcome="client_left") is None


def test_an_answer_that_the_client_left_is_still_not_padded() -> None:
    assert found(RULE, (5, EOS, 6), None, outcome="client_left") is not None


def test_tool_calls_end_like_stops() -> None:
    assert found(RULE, (5, EOS), "tool_calls") is None
    assert found(RULE, (5, 6), "tool_calls") is not None


def test_every_choice_is_looked_at() -> None:
    good = ChoiceRecord(index=0, prompt_token_ids=PROMPT, output_token_ids=(5, EOS), finish_reason="stop")
    bad = good.model_copy(update={"index": 1, "output_token_ids": (5, 6)})
    record = example_record(1).model_copy(update={"choices": (good, bad)})
    assert reason(check_stop(RULE, record, NoText())).startswith("choice 1 ends after 2 tokens")


STOPPING = replace(RULE, max_tokens=40, stop=("END", "\n\n"))


def test_an_answer_may_end_with_a_stop_string(decoder: TextDecoder, write: Write) -> None:
    for text in ("One two. END", "One.\n\n", "END"):
        assert found(STOPPING, write(text), "stop", decoder) is None


def test_a_stop_string_may_be_kept_in_the_text(decoder: TextDecoder, write: Write) -> None:
    kept = replace(STOPPING, include_stop_str_in_output=True)
    assert found(kept, write("One two. END"), "stop", decoder) is None
    assert found(kept, write("One two."), "stop", decoder) is not None


def test_a_stop_without_the_stop_string_is_a_truncated_answer(decoder: TextDecoder, write: Write) -> None:
    assert "without a stop token or stop string" in reason(
        found(STOPPING, write("One two. EN"), "stop", decoder)
    )
    assert found(STOPPING, (*write("One two."), EOS), "stop", decoder) is None


def test_an_ignored_stop_string_is_padding(decoder: TextDecoder, write: Write) -> None:
    for finish in ("stop", "length", None):
        ignoring = (*write("One END two."), EOS)
        assert "after a stop string" in reason(found(STOPPING, ignoring, finish, decoder))


def test_a_stop_string_counts_only_after_min_tokens(decoder: TextDecoder, write: Write) -> None:
    early = write("END is early, END")
    rule = replace(STOPPING, min_tokens=4)
    assert found(rule, early, "stop", decoder) is None
    assert found(STOPPING, early, "stop", decoder) is not None


def test_special_tokens_in_a_stop_string_count_however_they_are_shown(
    decoder: TextDecoder, write: Write
) -> None:
    """Parsers of tool calls make vLLM show special tokens; without one it never finds this string."""
    rule = replace(STOPPING, stop=("<|im_start|>",))
    start = write("<|im_start|>")
    assert found(rule, (*write("One"), *start), "stop", decoder) is None
    assert found(rule, (*write("One"), *start, *write("two"), EOS), "stop", decoder) is None
    shown = replace(rule, skip_special_tokens=False)
    assert found(shown, (*write("One"), *start, *write("two"), EOS), "stop", decoder) is not None


def engine_output(rule: SamplingRule, drawn: list[int], decoder: TextDecoder) -> tuple[tuple[int, ...], str]:
    """Where an honest engine ends that draws these tokens, and its finish reason."""
    assert rule.max_tokens is not None
    text_rule = TextRule()
    for count in range(1, rule.max_tokens + 1):
        output = tuple(drawn[:count])
        [text] = decoder.sent_texts(PROMPT, output, text_rule, "length")
        if output[-1] in rule.end_token_ids or (
            count > rule.min_tokens and any(stop in text for stop in rule.stop)
        ):
            return output, "stop"
    return tuple(drawn[: rule.max_tokens]), "length"


@given(
    drawn=st.lists(st.sampled_from([EOS, 28, 30, 216, 253, 198, 339, 12408]), min_size=13, max_size=13),
    max_tokens=st.integers(1, 12),
    stop=st.sampled_from([(), (".",), (" the", ",")]),
)
def test_honest_ends_pass_and_every_other_end_fails(
    drawn: list[int], max_tokens: int, stop: tuple[str, ...], decoder: TextDecoder
) -> None:
    rule = replace(RULE, max_tokens=max_tokens, stop=stop)
    output, finish = engine_output(rule, drawn, decoder)
    assert found(rule, output, finish, decoder) is None
    padded = tuple(drawn[: len(output) + 1])
    assert found(rule, padded, finish, decoder) is not None
    for shorter in range(len(output)):
        assert found(rule, output[:shorter], "stop", decoder) is not None
        assert found(rule, output[:shorter], "length", decoder) is not None
