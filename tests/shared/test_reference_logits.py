import pytest
import torch
from torch import Tensor

from shared.reference_logits import BLOCK_ROWS, LogitsHead, LogitsRequest
from tests.shared.small_models import HIDDEN, VOCABULARY, small_model


def handed_out(name: str, states: Tensor, first: int = 0) -> list[tuple[int, Tensor]]:
    blocks: list[tuple[int, Tensor]] = []
    request = LogitsRequest(first, first + len(states) - 1, lambda at, block: blocks.append((at, block)))
    with torch.inference_mode():
        LogitsHead(small_model(name)).hand_out(states, request)
    return blocks


@pytest.mark.parametrize("name", ["qwen2", "llama", "gemma2", "granite", "cohere"])
def test_logits_equal_those_of_transformers_with_scale_and_soft_cap(name: str) -> None:
    model = small_model(name)
    tokens = torch.tensor([[5, 9, 31, 77]])
    with torch.inference_mode():
        expected = model(tokens).logits[0]
        states = model.get_decoder()(tokens).last_hidden_state[0]
    ((position, logits),) = handed_out(name, states)
    assert position == 0
    assert torch.allclose(logits, expected, atol=1e-6)


@pytest.mark.parametrize("name", ["gemma2", "granite", "cohere"])
def test_without_scale_and_soft_cap_these_models_logits_would_be_others(name: str) -> None:
    states = torch.randn(2, HIDDEN, generator=torch.Generator().manual_seed(1))
    ((_, logits),) = handed_out(name, states)
    with torch.inference_mode():
        plain = small_model(name).get_output_embeddings()(states)
    assert not torch.allclose(logits, plain, rtol=0.05)


def test_blocks_are_small_consecutive_and_complete() -> None:
    states = torch.randn(2 * BLOCK_ROWS + 3, HIDDEN, generator=torch.Generator().manual_seed(1))
    blocks = handed_out("llama", states, first=7)
    assert [position for position, _ in blocks] == [7, 7 + BLOCK_ROWS, 7 + 2 * BLOCK_ROWS]
    assert [block.shape for _, block in blocks] == [
        (BLOCK_ROWS, VOCABULARY),
        (BLOCK_ROWS, VOCABULARY),
        (3, VOCABULARY),
    ]
    whole = torch.cat([block for _, block in blocks])
    ((_, last),) = handed_out("llama", states[-1:])
    assert torch.allclose(whole[-1:], last, atol=1e-6)


def test_logits_of_a_bfloat16_model_are_float32() -> None:
    model = small_model("llama").to(torch.bfloat16)
    blocks: list[Tensor] = []
    with torch.inference_mode():
        states = torch.zeros(1, HIDDEN, dtype=torch.bfloat16)
        LogitsHead(model).hand_out(states, LogitsRequest(0, 0, lambda _, block: blocks.append(block)))
    assert blocks[0].dtype == torch.float32


def test_rows_beyond_the_vocabulary_are_cut_off() -> None:
    model = small_model("qwen2")
    model.resize_token_embeddings(VOCABULARY + 28)
    model.config.vocab_size = VOCABULARY
    blocks: list[Tensor] = []
    with torch.inference_mode():
        request = LogitsRequest(0, 0, lambda _, block: blocks.append(block))
        LogitsHead(model).hand_out(torch.zeros(1, HIDDEN), request)
    assert blocks[0].shape == (1, VOCABULARY)
