from pathlib import Path
from types import SimpleNamespace
from typing import Any

import orjson
import pytest

from localnet.cheating_miner.cheat import Cheat, MinerParts
from localnet.cheating_miner.construction import CHEATS
from localnet.cheating_miner.exchange import BodyCheat, Payload, Server
from miners.commitment_store import CommitmentStore
from miners.errors import RequestRefused
from shared.canonical import canonical_json
from shared.challenges import ReplayPoint, ReplayRequest
from tests.localnet.cheating_miner.rig import CHAT, HELLO, MODEL, Engine, Rig
from tests.shared.keys import MINER

NEED_THE_TRUE_ENGINE = {"prefill-attack", "probes-only"}


def parts(folder: Path) -> MinerParts:
    calibration: Any = SimpleNamespace()
    store = CommitmentStore(1 << 20, 100.0, lambda: 0.0)
    return MinerParts(folder, MODEL, MINER, calibration, store, Engine(), SimpleNamespace())


async def sent(cheat: Cheat, **fields: Any) -> Payload:
    """The body that a cheat sends for one."""
    assert isinstance(cheat, BodyCheat)
    server = Server(Rig().vllm, {"type": "http", "method": "POST", "path": CHAT, "headers": []})
    return (await cheat.exchange(server, CHAT, {"messages": HELLO, "request_id": "r", **fields})).fields


@pytest.mark.parametrize("name", sorted(set(CHEATS) - NEED_THE_TRUE_ENGINE))
def test_every_cheat_is_made_from_a_miners_parts_and_changes_something(
    name: str, tiny_model_folder: Path
) -> None:
    cheat = CHEATS[name](parts(tiny_model_folder))
    places = ("inside", "outside", "capture", "answers")
    assert any(getattr(type(cheat), place) is not getattr(Cheat, place) for place in places)


def test_no_two_cheats_are_the_same(tiny_model_folder: Path) -> None:
    made = [CHEATS[name](parts(tiny_model_folder)) for name in sorted(set(CHEATS) - NEED_THE_TRUE_ENGINE)]
    kinds = [(type(cheat), str(vars(cheat).get("_step"))) for cheat in made]
    assert len(set(kinds)) == len(kinds)


async def test_up_is_up_and_down_is_down_from_the_models_own_temperature(
    tiny_model_folder: Path, tmp_path: Path
) -> None:
    (tmp_path / "generation_config.json").write_bytes(orjson.dumps({"temperature": 0.7}))
    for folder, default in ((tiny_model_folder, 1.0), (tmp_path, 0.7)):
        for name, step in (("temperature-up", 0.1), ("temperature-down", -0.1)):
            fields = await sent(CHEATS[name](parts(folder)))
            assert fields["temperature"] == pytest.approx(default + step)


async def test_the_edited_template_is_the_models_own_with_an_end(tiny_model_folder: Path) -> None:
    fields = await sent(CHEATS["template"](parts(tiny_model_folder)))
    own = (tiny_model_folder / "chat_template.jinja").read_text(encoding="utf-8")
    assert fields["chat_template"] == own + "{{ '\\n' }}"


async def test_the_known_start_is_that_of_the_models_template(tiny_model_folder: Path) -> None:
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(tiny_model_folder)
    chat = [{"role": "user", "content": "Something else entirely"}]
    ids = tokenizer.apply_chat_template(chat, tokenize=True, return_dict=False)
    rig = Rig()
    answers = CHEATS["refuse-unknown"](parts(tiny_model_folder)).answers(rig.service.answers)
    known = 0
    for position in range(len(ids)):
        point = ReplayPoint(position=position, layer=1)
        try:
            await answers.answer(canonical_json(ReplayRequest(token_ids=tuple(ids), points=(point,))))
            known += 1
        except RequestRefused:
            break
    start = tokenizer.decode(ids[:known])
    assert "system" in start
    assert start.endswith("user\n")
