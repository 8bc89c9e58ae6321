"""What a miner may be told to do, and the folder that it then serves."""

from pathlib import Path

import pytest

from localnet.cheats.rewriting import Say, quiet
from localnet.cheats.rounding import write_int4_model
from localnet.errors import LocalnetError
from localnet.roles import ROLES, Role, role_model, role_named
from shared.errors import ModelError
from shared.model_identity import model_digest, public_model_name

WEIGHT_CHEATS = (
    *("int8", "fp8", "int4", "noise-0.3", "noise-1", "noise-3"),
    *("fine-tuned", "other-model", "layer-dropped", "suffix"),
)


def test_every_weight_cheat_is_a_role_of_its_own() -> None:
    writers = [ROLES[name].write_model for name in WEIGHT_CHEATS]
    assert None not in writers
    assert len(set(writers)) == len(WEIGHT_CHEATS)


def test_weight_cheats_run_the_stock_miner_and_only_one_role_is_honest() -> None:
    assert all(ROLES[name].behaviour is None for name in WEIGHT_CHEATS)
    assert [role for role in ROLES.values() if role.honest] == [ROLES["honest"]]
    assert ROLES["honest"].write_model is None
    assert ROLES["honest"].behaviour is None


def test_every_cheat_changes_weights_or_behaviour() -> None:
    assert all(role.write_model or role.behaviour for role in ROLES.values() if not role.honest)


def test_every_role_says_in_one_line_what_it_does() -> None:
    assert all(role.summary and "\n" not in role.summary for role in ROLES.values())


def test_an_unknown_role_is_refused_with_the_names_of_all() -> None:
    with pytest.raises(LocalnetError, match=r"int8.*suffix"):
        role_named("lazy")


def test_the_cheating_folder_has_the_same_files_and_name_but_another_digest(
    tiny_model_folder: Path, tmp_path: Path
) -> None:
    target = role_model(ROLES["int4"], tiny_model_folder, tmp_path)
    assert public_model_name(str(target)) == public_model_name(str(tiny_model_folder))
    assert {file.name for file in target.iterdir()} == {file.name for file in tiny_model_folder.iterdir()}
    assert model_digest(target) != model_digest(tiny_model_folder)


def test_a_role_without_weights_of_its_own_serves_the_true_model(tmp_path: Path) -> None:
    for role in (ROLES["honest"], Role("sly", False, "", behaviour="sly")):
        assert role_model(role, tmp_path / "model", tmp_path / "models") == tmp_path / "model"
    assert not (tmp_path / "models").exists()


def test_a_roles_weights_are_written_once_and_that_is_said(tiny_model_folder: Path, tmp_path: Path) -> None:
    said: list[str] = []
    target = role_model(ROLES["int4"], tiny_model_folder, tmp_path, said.append)
    (target / "marker").touch()
    assert said == ["writing the weights that the int4 miner serves", "  1 of 1 weight files written"]
    assert role_model(ROLES["int4"], tiny_model_folder, tmp_path, said.append) == target
    assert (target / "marker").exists()
    assert len(said) == 2


def test_weights_whose_writing_failed_are_written_anew(tiny_model_folder: Path, tmp_path: Path) -> None:
    attempts: list[Path] = []

    def fails_once(source: Path, target: Path, say: Say = quiet, /) -> Path:
        attempts.append(write_int4_model(source, target))
        if len(attempts) == 1:
            raise ModelError("the disk is full")
        return target

    role = Role("unlucky", False, "", fails_once)
    with pytest.raises(ModelError, match="full"):
        role_model(role, tiny_model_folder, tmp_path)
    assert not (tmp_path / "unlucky" / tiny_model_folder.name).exists()
    assert (role_model(role, tiny_model_folder, tmp_path) / "config.json").exists()
