from typing import Any

import pytest

from localnet.cheating_miner.probes_only import ProbesOnly, looks_like_a_probe
from localnet.cheating_miner.prompt_cheats import OwnSystemPrompt
from localnet.cheating_miner.sampling_cheats import WrongSeed
from localnet.cheating_miner.sketch_cheats import RandomSketches
from tests.localnet.cheating_miner.rig import CHAT, COMPLETIONS, HELLO, Rig, prompt_ids

LONG = [{"role": "user", "content": "A longer question. " * 12}]
SYSTEM = {"role": "system", "content": "Be brief. " * 40}


@pytest.mark.parametrize(
    ("path", "fields", "probe"),
    [
        (CHAT, {"messages": HELLO}, True),
        (CHAT, {"messages": [SYSTEM, *HELLO]}, True),
        (CHAT, {"messages": LONG}, False),
        (CHAT, {"messages": [*HELLO, {"role": "assistant", "content": "Hi"}, *HELLO]}, False),
        (CHAT, {"messages": []}, False),
        (COMPLETIONS, {"prompt": "Once"}, True),
        (COMPLETIONS, {"prompt": "Once upon a time " * 20}, False),
        (COMPLETIONS, {"prompt": list(range(100))}, False),
    ],
)
def test_short_single_questions_look_like_probes(path: str, fields: dict[str, Any], probe: bool) -> None:
    assert looks_like_a_probe(path, fields) is probe


async def test_probes_are_answered_honestly_and_others_not() -> None:
    rig = Rig(lambda parts: ProbesOnly(WrongSeed()))
    await rig.ask(request_id="request-0001", seed=5)
    await rig.ask(request_id="request-0002", seed=5, messages=LONG)
    honest, cheated = rig.vllm.completions
    assert honest["seed"] == 5
    assert cheated["seed"] != 5


async def test_both_get_receipts_over_the_true_prompt_when_the_other_cheat_claims() -> None:
    rig = Rig(lambda parts: ProbesOnly(OwnSystemPrompt()))
    for name, messages in (("request-0001", HELLO), ("request-0002", LONG)):
        answer = await rig.ask(request_id=name, messages=messages)
        assert answer["prompt_token_ids"] == prompt_ids({"messages": messages})
        assert "receipt" in answer


def test_the_other_cheats_captures_and_answers_are_used() -> None:
    rig = Rig(lambda parts: ProbesOnly(RandomSketches()))
    assert type(ProbesOnly(RandomSketches()).capture(rig.engine)).__name__ == "RandomCapture"
    answers = rig.service.answers
    assert ProbesOnly(RandomSketches()).answers(answers) is answers
