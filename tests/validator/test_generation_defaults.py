import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from shared.errors import ModelError
from shared.inference_paths import COMPLETIONS_PATH
from shared.model_identity import LEAST_CONTEXT_TOKENS
from tests.models import demo_model
from tests.validator.vllm_sampling import VllmSampling
from validator.generation_defaults import GenerationDefaults

EOS = 2
"""<|im_end|> of the demo model."""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    target = tmp_path / "model"
    shutil.copytree(demo_model(), target, ignore=shutil.ignore_patterns("*.safetensors", "*.calibration"))
    return target


def write_config(folder: Path, **values: Any) -> None:
    (folder / "generation_config.json").write_text(json.dumps(values))


def test_a_plain_model_has_no_defaults_but_its_end_of_text() -> None:
    defaults = GenerationDefaults.load(str(demo_model()))
    assert (defaults.sampling, defaults.max_tokens, defaults.eos_token_ids) == ({}, None, frozenset({EOS}))


def test_a_models_own_sampling_is_the_default(folder: Path) -> None:
    write_config(folder, temperature=0.6, top_k=20, top_p=0.8, max_new_tokens=300, eos_token_id=[2, 0])
    defaults = GenerationDefaults.load(str(folder))
    assert defaults.sampling == {"temperature": 0.6, "top_k": 20, "top_p": 0.8}
    assert defaults.max_tokens == 300
    assert defaults.eos_token_ids == {2, 0}


def test_without_a_generation_config_the_models_configuration_counts_as_for_vllm(folder: Path) -> None:
    (folder / "generation_config.json").unlink()
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"eos_token_id": [2, 3]}))
    defaults = GenerationDefaults.load(str(folder))
    params = VllmSampling(folder).params(COMPLETIONS_PATH, {"prompt": "Hi"})
    assert defaults.eos_token_ids == params.all_stop_token_ids == {2, 3}
    assert defaults.sampling == {}


def test_the_tokenizers_end_of_text_counts_beside_the_configurations(folder: Path) -> None:
    write_config(folder, eos_token_id=0)
    assert GenerationDefaults.load(str(folder)).eos_token_ids == {0, EOS}


def test_words_are_encoded_without_special_tokens() -> None:
    defaults = GenerationDefaults.load(str(demo_model()))
    assert defaults.encode("") == []
    assert len(defaults.encode(" dragon")) >= 1


def test_an_answer_may_fill_the_models_own_context_where_that_is_short(folder: Path) -> None:
    config = json.loads((folder / "config.json").read_text())
    assert GenerationDefaults.load(str(folder)).context_limit == LEAST_CONTEXT_TOKENS
    (folder / "config.json").write_text(json.dumps(config | {"max_position_embeddings": 1024}))
    assert GenerationDefaults.load(str(folder)).context_limit == 1024


def test_a_folder_without_a_configuration_is_refused_in_words(folder: Path) -> None:
    (folder / "generation_config.json").unlink()
    (folder / "config.json").write_text("{}")
    with pytest.raises(ModelError, match="can't be loaded"):
        GenerationDefaults.load(str(folder))


def test_a_model_without_a_tokenizer_is_refused_in_words(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="tokenizer"):
        GenerationDefaults.load(str(tmp_path))
