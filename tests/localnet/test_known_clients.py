import random
from pathlib import Path

from localnet.known_clients import introduce_clients
from localnet.traffic import chat_requests
from validator.synthetic_reservoir import Reservoir
from validator.synthetic_state import STATE_FILE, SyntheticState, load_state


def test_the_auditors_own_requests_look_like_localnets_from_the_first_on(tmp_path: Path) -> None:
    introduce_clients(tmp_path, "tiny")
    reservoir = Reservoir(random.Random(1), load_state(tmp_path / STATE_FILE).shapes)
    drawn = [reservoir.draw() for _ in range(200)]
    lengths = {body["max_tokens"] for body in chat_requests("tiny", 500, random.Random(2))}
    for shape in drawn:
        assert shape.path == "/v1/chat/completions"
        assert set(shape.fields) == {"model", "messages", "max_tokens", "temperature", "stream"}
        assert min(lengths) <= shape.values["max_tokens"] <= max(lengths)
        assert len(shape.turns) <= 2
    assert any(shape.system for shape in drawn)


def test_an_auditor_that_never_met_a_client_would_send_other_requests() -> None:
    reservoir = Reservoir(random.Random(1))
    drawn = [reservoir.draw() for _ in range(200)]
    assert any(shape.values.get("max_tokens", 10**9) > 56 for shape in drawn)


def test_what_an_auditor_has_learned_is_kept(tmp_path: Path) -> None:
    file = tmp_path / STATE_FILE
    file.write_text(SyntheticState(key="00" * 32).model_dump_json())
    introduce_clients(tmp_path, "tiny")
    assert load_state(file) == SyntheticState(key="00" * 32)
