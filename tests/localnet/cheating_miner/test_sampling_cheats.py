from pathlib import Path
from typing import Any

import orjson
import pytest

from localnet.cheating_miner.exchange import BodyCheat
from localnet.cheating_miner.sampling_cheats import (
    SEED_OFFSET,
    OtherTemperature,
    TopPIgnored,
    WrongSeed,
    default_sampling,
)
from tests.localnet.cheating_miner.rig import Rig


async def asked(cheat: BodyCheat, **fields: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    """(what vLLM was asked, the receipt) of one request."""
    rig = Rig(lambda parts: cheat)
    answer = await rig.ask(**fields)
    return rig.vllm.completions[0], answer["receipt"]


@pytest.mark.parametrize(
    ("step", "stated", "used"),
    [(0.1, 0.7, 0.8), (-0.1, 0.7, 0.6), (0.1, None, 1.1), (-0.1, 0, 0.0), (0.1, 0, 0.1)],
)
async def test_the_temperature_is_shifted_from_what_was_asked_or_from_the_default(
    step: float, stated: float | None, used: float
) -> None:
    fields, _ = await asked(OtherTemperature(step, default=1.0), temperature=stated, top_p=0.9)
    assert fields["temperature"] == pytest.approx(used)
    assert fields["top_p"] == 0.9


async def test_another_seed_is_used_and_the_receipt_names_the_one_asked_for() -> None:
    fields, receipt = await asked(WrongSeed(), seed=11)
    assert (fields["seed"], receipt["seed"]) == (11 + SEED_OFFSET, 11)


async def test_the_greatest_seed_wraps_instead_of_being_refused() -> None:
    fields, _ = await asked(WrongSeed(), seed=(1 << 63) - 1)
    assert -(1 << 63) <= fields["seed"] < 1 << 63


async def test_a_request_without_a_seed_stays_without() -> None:
    fields, _ = await asked(WrongSeed())
    assert "seed" not in fields


async def test_top_p_is_ignored_and_nothing_else() -> None:
    fields, _ = await asked(TopPIgnored(), top_p=0.5, temperature=0.7, top_k=20)
    assert (fields["top_p"], fields["temperature"], fields["top_k"]) == (1.0, 0.7, 20)


def test_defaults_are_those_of_the_models_generation_config(tmp_path: Path) -> None:
    assert default_sampling(tmp_path) == {"temperature": 1.0, "top_p": 1.0, "top_k": 0}
    (tmp_path / "generation_config.json").write_bytes(orjson.dumps({"temperature": 0.7, "top_k": 20, "x": 1}))
    assert default_sampling(tmp_path) == {"temperature": 0.7, "top_p": 1.0, "top_k": 20}
