import json

from bench.detection.requests import conversations, detection_requests, in_waves
from validator.calibration_prompts import calibration_chats

TEXTS = conversations()


def bodies(count: int, seed: int = 1) -> list[dict[str, object]]:
    return [json.loads(one.body) for one in detection_requests("m", TEXTS, count, seed)]


def test_there_are_a_few_hundred_conversations_of_many_kinds() -> None:
    assert len(TEXTS) >= 200
    assert all(turns[-1]["role"] == "user" for turns in TEXTS)
    assert sum(len(turns) > 2 for turns in TEXTS) >= 10
    scripts = {character for turns in TEXTS for character in turns[-1]["content"] if ord(character) > 0x370}
    assert len(scripts) > 100


def test_calibration_has_seen_none_of_them() -> None:
    seen = {turn["content"] for chat in calibration_chats() for turn in chat}
    assert not seen & {turns[-1]["content"] for turns in TEXTS}


def test_the_same_seed_asks_the_same() -> None:
    assert bodies(50) == bodies(50)
    assert bodies(50) != bodies(50, seed=2)


def test_requests_differ_in_everything_that_clients_choose() -> None:
    asked = bodies(400)
    assert len({one["request_id"] for one in asked}) == 400
    assert len({one["temperature"] for one in asked}) > 4
    assert {one["stream"] for one in asked} == {True, False}
    assert any("prompt" in one for one in asked)
    assert any("n" in one for one in asked)
    assert any("top_k" in one for one in asked)
    assert any("presence_penalty" in one or "frequency_penalty" in one for one in asked)


def test_every_request_is_in_one_wave() -> None:
    requests = detection_requests("m", TEXTS, 100, 1)
    waves = in_waves(requests, 3)
    assert [one for wave in waves for one in wave] == requests
    assert {len(wave) for wave in waves[:-1]} <= {1, 2, 4, 8}
