from pathlib import Path

import pytest

from localnet import demo_model
from localnet.demo_model import build_demo_model, build_tiny_model
from shared.errors import ModelError


def test_a_model_that_is_there_is_not_built_again(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    assert build_demo_model(tmp_path) == tmp_path
    assert [file.name for file in tmp_path.iterdir()] == ["config.json"]


def test_a_missing_package_is_named_with_the_cure(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(demo_model, "DEMO_PACKAGE", "no-such-package")
    with pytest.raises(ModelError, match="make setup"):
        build_demo_model(tmp_path / "model")
    assert not (tmp_path / "model").exists()


def test_the_demo_model_speaks_english(demo_model_folder: Path) -> None:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(demo_model_folder)
    model = AutoModelForCausalLM.from_pretrained(demo_model_folder)
    messages = [{"role": "user", "content": "What is the capital of France? Answer in one word."}]
    tokens = tokenizer.apply_chat_template(
        messages, add_generation_prompt=True, return_tensors="pt", return_dict=True
    )
    answer = model.generate(**tokens, max_new_tokens=12, do_sample=False)
    assert "Paris" in tokenizer.decode(answer[0, tokens["input_ids"].shape[1] :])


def test_tiny_models_of_different_seeds_differ(demo_model_folder: Path, tmp_path: Path) -> None:
    one = build_tiny_model(tmp_path / "one", demo_model_folder, seed=1)
    two = build_tiny_model(tmp_path / "two", demo_model_folder, seed=2)
    assert (one / "model.safetensors").read_bytes() != (two / "model.safetensors").read_bytes()
