from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, decoders, models
from transformers import PreTrainedTokenizerBase, PreTrainedTokenizerFast

from shared.errors import ModelError
from tests.models import demo_model
from tests.validator.vllm_detokenizer import sent_by_vllm
from validator.detokenization import TextDecoder, TextRule
from validator.model_tokenizer import load_tokenizer

EOS = 2
"""<|im_end|> of the demo model."""

TEXTS = [
    "Plain words, one after another.",
    "Zażółć gęślą jaźń — naïve café",
    "👩‍👩‍👧 family, 🏳️‍🌈 flag, 🇨🇮 land",
    "日本語の文章、한국어 문장 और हिन्दी",
    "  leading and trailing  \n\n",
    "STOP here, stop there, STSTOP",
]


@pytest.fixture(scope="module")
def tokenizer() -> PreTrainedTokenizerBase:
    return load_tokenizer(str(demo_model()))


@pytest.fixture(scope="module")
def decoder(tokenizer: PreTrainedTokenizerBase) -> TextDecoder:
    return TextDecoder(tokenizer)


def ids(tokenizer: PreTrainedTokenizerBase, text: str) -> list[int]:
    return list(tokenizer(text)["input_ids"])


RULES = st.builds(
    TextRule,
    stops=st.lists(
        st.sampled_from(["STOP", "TOP", "ST", "stop", " ", "é", "🏳️", "👩", "文", "here, s", "n"]), max_size=3
    ).map(tuple),
    keep_stop=st.booleans(),
    min_tokens=st.integers(0, 6),
    skip_special_tokens=st.booleans(),
    spaces_between_special_tokens=st.booleans(),
)
PIECES = st.lists(st.sampled_from(TEXTS) | st.lists(st.integers(0, 49151), max_size=4), max_size=4)
SPECIALS = st.lists(st.integers(0, 16), max_size=3)


@given(PIECES, SPECIALS, RULES, st.sampled_from(["stop", "length", None]), st.booleans())
@settings(max_examples=400)
def test_the_text_is_the_one_that_vllm_sends(
    tokenizer: PreTrainedTokenizerBase,
    decoder: TextDecoder,
    pieces: list[Any],
    specials: list[int],
    rule: TextRule,
    ending: str | None,
    streamed: bool,
) -> None:
    prompt = ids(tokenizer, "<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n")
    output = [
        token for piece in pieces for token in (ids(tokenizer, piece) if isinstance(piece, str) else piece)
    ]
    output = [*output, *specials]
    sent = sent_by_vllm(tokenizer, prompt, output, rule, ending, streamed)
    texts = decoder.sent_texts(prompt, sent.token_ids, rule, sent.finish_reason)
    assert sent.text in texts
    assert len(texts) == 1 or (sent.finish_reason == "stop" and rule.stops)


def llama_like() -> PreTrainedTokenizerBase:
    """A tokenizer that marks spaces in its words and spells unknown characters in bytes."""
    words = ["<unk>", "<s>", "</s>", "▁Hello", "▁world", "!", "é"]
    vocabulary = {word: number for number, word in enumerate([*words, *(f"<0x{n:02X}>" for n in range(256))])}
    backend = Tokenizer(models.BPE(vocabulary, [], unk_token="<unk>", byte_fallback=True))
    backend.decoder = decoders.Sequence(
        [
            decoders.Replace("▁", " "),
            decoders.ByteFallback(),
            decoders.Fuse(),
            decoders.Strip(" ", 1, 0),
        ]
    )
    backend.add_special_tokens(["<unk>", "<s>", "</s>"])
    return PreTrainedTokenizerFast(tokenizer_object=backend)


@given(st.lists(st.integers(0, 6), max_size=3), st.lists(st.integers(0, 262), max_size=12), RULES)
@settings(max_examples=200)
def test_the_text_is_vllms_with_a_tokenizer_of_marked_spaces_and_bytes_too(
    prompt: list[int], output: list[int], rule: TextRule
) -> None:
    tokenizer = llama_like()
    sent = sent_by_vllm(tokenizer, prompt, output, rule, "length", streamed=True)
    texts = TextDecoder(tokenizer).sent_texts(prompt, sent.token_ids, rule, sent.finish_reason)
    assert sent.text in texts


def test_the_space_before_the_first_word_depends_on_the_prompt() -> None:
    decoder = TextDecoder(llama_like())
    assert decoder.sent_texts([3], [4], TextRule(), "length") == {" world"}
    assert decoder.sent_texts([], [4], TextRule(), "length") == {"world"}


def test_a_character_split_over_tokens_is_sent_when_it_is_whole(
    tokenizer: PreTrainedTokenizerBase, decoder: TextDecoder
) -> None:
    output = ids(tokenizer, "🐢")
    assert len(output) > 1
    assert decoder.sent_texts([1], output, TextRule(), "length") == {"🐢"}
    assert decoder.sent_texts([1], output[:-1], TextRule(), "length") == {""}


def test_the_stop_token_is_not_shown_unless_asked_for(
    tokenizer: PreTrainedTokenizerBase, decoder: TextDecoder
) -> None:
    output = [*ids(tokenizer, "Yes."), EOS]
    assert decoder.sent_texts([1], output, TextRule(), "stop") == {"Yes."}
    shown = TextRule(keep_stop=True, skip_special_tokens=False)
    assert decoder.sent_texts([1], output, shown, "stop") == {"Yes.<|im_end|>"}
    word = ids(tokenizer, "Yes no")
    assert decoder.sent_texts([1], word, TextRule(), "stop") == {"Yes"}, "a stop token may be any word"
    assert decoder.sent_texts([1], word, TextRule(), "length") == {"Yes no"}


def test_a_stop_string_is_cut_off_unless_asked_for(
    tokenizer: PreTrainedTokenizerBase, decoder: TextDecoder
) -> None:
    output = ids(tokenizer, "one two three")
    assert decoder.sent_texts([1], output, TextRule(stops=("thr",)), "stop") == {"one two ", "one two"}
    kept = TextRule(stops=("thr",), keep_stop=True)
    assert decoder.sent_texts([1], output, kept, "stop") == {"one two thr"}


def test_nothing_after_an_ignored_stop_string_may_be_sent(
    tokenizer: PreTrainedTokenizerBase, decoder: TextDecoder
) -> None:
    output = ids(tokenizer, "one two three four")
    assert decoder.sent_texts([1], output, TextRule(stops=(" two",)), "length") == {"one"}
    assert decoder.sent_texts([1], output, TextRule(stops=(" two",)), "stop") == {"one"}


def test_a_stop_string_before_the_least_number_of_tokens_is_passed_over(
    tokenizer: PreTrainedTokenizerBase, decoder: TextDecoder
) -> None:
    output = ids(tokenizer, "one two three")
    rule = TextRule(stops=(" two",), min_tokens=2)
    assert decoder.sent_texts([1], output, rule, "length") == {"one two three"}


def test_an_unfinished_output_holds_back_what_could_become_a_stop_string(
    tokenizer: PreTrainedTokenizerBase, decoder: TextDecoder
) -> None:
    output = ids(tokenizer, "one two three")
    rule = TextRule(stops=("never",))
    assert decoder.sent_texts([1], output, rule, None) == {"one two t"}
    assert decoder.sent_texts([1], output, rule, "length") == {"one two three"}
    assert decoder.sent_texts([1], output[:1], TextRule(stops=("x" * 99,)), None) == {""}


def test_an_empty_output_has_no_text(decoder: TextDecoder) -> None:
    for reason in ("stop", "length", None):
        assert decoder.sent_texts([1], [], TextRule(), reason) == {""}


def test_models_without_an_end_of_thought_do_not_mark_reasoning(
    tokenizer: PreTrainedTokenizerBase, decoder: TextDecoder
) -> None:
    assert not decoder.marks_reasoning
    thinking = load_tokenizer(str(demo_model()))
    thinking.add_tokens(["</think>"])
    assert TextDecoder(thinking).marks_reasoning


def test_a_tokenizer_that_cannot_decode_token_by_token_is_refused() -> None:
    class Slow:
        name_or_path = "slow/model"

    slow: Any = Slow()
    with pytest.raises(ModelError, match="slow/model"):
        TextDecoder(slow)
