"""Another model, other sampling defaults and other end tokens are told from the network's."""

import json
from pathlib import Path
from typing import Any

import pytest

from shared.calibration_header import CalibrationHeader, parse_header
from shared.canonical import sha256_hex
from shared.errors import ModelError
from shared.model_check import check_generation, check_weights
from shared.model_identity import LEAST_CONTEXT_TOKENS, generation_digest, least_context_tokens
from tests.shared.test_calibration_source import DATA

QWEN = {
    "do_sample": True,
    "eos_token_id": [151645, 151643],
    "repetition_penalty": 1.05,
    "temperature": 0.7,
    "top_k": 20,
    "top_p": 0.8,
    "transformers_version": "4.37.0",
}


def write(folder: Path, values: Any, name: str = "generation_config.json") -> Path:
    (folder / name).write_text(values if isinstance(values, str) else json.dumps(values))
    return folder


def header(folder: Path) -> CalibrationHeader:
    return parse_header(DATA).model_copy(update={"generation_digest": generation_digest(folder)})


@pytest.fixture
def network(tmp_path: Path) -> CalibrationHeader:
    folder = tmp_path / "network"
    folder.mkdir()
    return header(write(folder, QWEN))


def test_the_same_defaults_pass_however_the_file_was_saved(
    network: CalibrationHeader, tmp_path: Path
) -> None:
    saved_again = dict(reversed(QWEN.items())) | {"transformers_version": "5.19.0", "bos_token_id": 1}
    check_generation(network, write(tmp_path, saved_again))
    single = {"eos_token_id": 2}
    assert generation_digest(write(tmp_path, single)) == generation_digest(
        write(tmp_path, {"eos_token_id": [2], "top_k": None})
    )


@pytest.mark.parametrize(
    "change",
    [
        {"temperature": 0.6},
        {"top_k": 21},
        {"top_p": 0.9},
        {"min_p": 0.05},
        {"repetition_penalty": 1.0},
        {"presence_penalty": 0.5},
        {"frequency_penalty": 0.5},
        {"max_new_tokens": 2048},
        {"eos_token_id": [151645]},
        {"eos_token_id": 151645},
        {"temperature": None},
    ],
)
def test_other_defaults_are_refused(
    change: dict[str, Any], network: CalibrationHeader, tmp_path: Path
) -> None:
    with pytest.raises(ModelError, match=r"generation_config\.json has other sampling defaults"):
        check_generation(network, write(tmp_path, QWEN | change))


def test_a_missing_file_is_refused_where_the_network_has_one(
    network: CalibrationHeader, tmp_path: Path
) -> None:
    with pytest.raises(ModelError, match="get the model's own file"):
        check_generation(network, tmp_path)


def test_no_file_and_one_that_says_nothing_are_the_same(tmp_path: Path) -> None:
    without = header(tmp_path)
    check_generation(without, write(tmp_path, {"transformers_version": "5.19.0", "use_cache": True}))


def test_a_calibration_that_states_none_refuses_none(tmp_path: Path) -> None:
    check_generation(parse_header(DATA), write(tmp_path, QWEN))


@pytest.mark.parametrize("text", ["", "[]", "null", "{", "[" * 100_000, '{"temperature": NaN}'])
def test_a_damaged_file_is_said_in_words(text: str, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"generation_config\.json"):
        generation_digest(write(tmp_path, text))


def test_a_calibration_of_other_weights_is_refused() -> None:
    found = parse_header(DATA)
    check_weights(found, found.model_digest, "http://gateway")
    with pytest.raises(ModelError, match=r"http://gateway is for tiny .* another one, another revision"):
        check_weights(found, sha256_hex(b"another model"), "http://gateway")


@pytest.mark.parametrize(
    ("own", "least"),
    [(32768, LEAST_CONTEXT_TOKENS), (2048, 2048), (1024, 1024), (None, LEAST_CONTEXT_TOKENS)],
)
def test_a_miner_has_to_serve_what_the_model_has_up_to_a_bound(
    own: int | None, least: int, tmp_path: Path
) -> None:
    assert least_context_tokens(write(tmp_path, {"max_position_embeddings": own}, "config.json")) == least
