import pytest
import torch

from shared.errors import ModelError
from tests.models import tiny_model
from tests.validator.example_calibration import bare_calibration
from tests.validator.example_model import reference
from validator.calibration_prompts import as_request, calibration_chats
from validator.calibration_statistics import Moments, measure_statistics, tokenise_chats
from validator.model_tokenizer import load_tokenizer


def test_moments_are_the_mean_and_deviation() -> None:
    values = torch.randn(2, 50, 8, generator=torch.Generator().manual_seed(1)) * 3 + 5
    moments = Moments(2, 8)
    for start in range(0, 50, 7):
        moments.add(values[:, start : start + 7])
    mean, deviation = moments.result()
    assert torch.allclose(mean, values.mean(1), atol=1e-5)
    assert torch.allclose(deviation, values.std(1, correction=0), atol=1e-5)


def test_large_offsets_do_not_drown_small_deviations() -> None:
    values = 1e4 + torch.tensor([0.0, 1.0, 2.0, 1.0]).reshape(1, 4, 1)
    moments = Moments(1, 1)
    moments.add(values)
    assert float(moments.result()[1]) == pytest.approx(0.7071, rel=1e-3)


def test_nothing_to_measure_is_an_error() -> None:
    with pytest.raises(ModelError, match="fewer than two"):
        Moments(1, 1).result()


def test_hidden_states_that_are_not_finite_are_an_error() -> None:
    moments = Moments(1, 1)
    moments.add(torch.tensor([[[1.0], [float("nan")]]]))
    with pytest.raises(ModelError, match="not finite"):
        moments.result()


def test_the_first_position_is_not_counted() -> None:
    sequences = [[1, 500, 600], [1, 700]]
    found = measure_statistics(reference(), sequences, lambda words: None)
    assert found.tokens == 3
    states = [reference().hidden_states(ids, {2: range(1, len(ids))})[2] for ids in sequences]
    assert torch.allclose(found.mean[1], torch.cat(states).mean(0), atol=1e-5)


def test_statistics_do_not_depend_on_the_order_of_the_texts() -> None:
    sequences = tokenise_chats(load_tokenizer(str(tiny_model())), calibration_chats()[:4])
    one = measure_statistics(reference(), sequences, lambda words: None)
    other = measure_statistics(reference(), sequences[::-1], lambda words: None)
    assert torch.allclose(one.mean, other.mean, atol=1e-6)
    assert torch.allclose(one.deviation, other.deviation, atol=1e-6)


def test_progress_is_told() -> None:
    told: list[str] = []
    measure_statistics(reference(), [[1, 5, 6]] * 11, told.append)
    assert told == [
        "statistics: 10 of 11 texts, 20 positions",
        "statistics: 11 of 11 texts, 22 positions",
    ]


def test_every_dimension_of_every_layer_has_a_deviation() -> None:
    calibration = bare_calibration()
    assert calibration.mean.shape == (4, 256)
    assert float(calibration.deviation.min()) > 0


def test_the_texts_are_varied_chats_that_end_with_an_answer() -> None:
    chats = calibration_chats()
    assert len(chats) >= 50
    assert all(chat[-1]["role"] == "assistant" for chat in chats)
    assert all(as_request(chat)[-1]["role"] == "user" for chat in chats)
    everything = "".join(message["content"] for chat in chats for message in chat)
    for sign in ("def ", "SELECT", '{"', "ü", "é", "я", "中", "の", "한", "ع", "ह"):
        assert sign in everything


def test_no_text_comes_twice() -> None:
    questions = [chat[-2]["content"] for chat in calibration_chats()]
    assert len(set(questions)) == len(questions)
