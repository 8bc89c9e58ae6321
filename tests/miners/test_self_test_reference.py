from pathlib import Path

import pytest

from miners.self_test import SelfTestReference
from miners.self_test_reference import reference_file, self_test_reference
from shared.errors import ModelError


def test_the_reference_is_computed_in_its_own_process_once_and_again_when_damaged(
    tiny_model_folder: Path, tmp_path: Path
) -> None:
    file = reference_file(tmp_path, "ab" * 32)
    computed = self_test_reference(str(tiny_model_folder), "cpu", file)
    assert computed.dtype == "float32"
    assert self_test_reference("/nowhere", "cpu", file).token_ids == computed.token_ids
    file.write_bytes(b"damaged")
    assert self_test_reference(str(tiny_model_folder), "cpu", file).token_ids == computed.token_ids
    assert SelfTestReference.read(file) is not None


def test_a_failure_says_why(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"status 1: .*can't be loaded"):
        self_test_reference(str(tmp_path), "cpu", reference_file(tmp_path, "cd" * 32))


def test_each_models_reference_has_its_own_file(tmp_path: Path) -> None:
    assert reference_file(tmp_path, "a" * 64) != reference_file(tmp_path, "b" * 64)
