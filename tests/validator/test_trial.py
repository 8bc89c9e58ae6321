"""A trial audit says of an honest miner what audits will, and of cheats too."""

from dataclasses import replace
from pathlib import Path

import pytest
from torch import Tensor

from shared.calibration import write_calibration
from shared.errors import ModelError
from tests.models import TINY_MODEL, tiny_model
from tests.shared.keys import MINER
from tests.validator.example_calibration import tiny_calibration
from tests.validator.example_generation import Writing
from tests.validator.example_miner import DistortedMiner
from tests.validator.served_miner import ServedMiner, serving
from validator.evidence import FAIL_P_VALUE
from validator.trial_audit import trial_audits
from validator.trial_config import TrialConfig
from validator.verdicts import Verdict


@pytest.fixture
def config(tmp_path: Path) -> TrialConfig:
    file = tmp_path / "tiny.calibration"
    write_calibration(tiny_calibration(), file)
    return TrialConfig(model=str(tiny_model()), served_model_name=TINY_MODEL, calibration=file, trials=3)


async def verdicts(config: TrialConfig, miner: ServedMiner) -> list[Verdict]:
    """Trial audits by the miner's own hotkey."""
    async with serving(miner) as server:
        return [one async for one in trial_audits(config, MINER, server.axon, MINER.ss58_address)]


async def test_an_honest_miner_passes_and_its_margins_are_told(config: TrialConfig) -> None:
    found = await verdicts(config, ServedMiner(tiny_calibration()))
    assert [(one.outcome, one.check) for one in found] == [("pass", "all")] * 3
    for verdict in found:
        statistics = {one.statistic: one.p_value for one in verdict.evidence}
        assert set(statistics) == {"typical", "mean", "replay", "tokens"}
        assert min(statistics.values()) > FAIL_P_VALUE


async def test_a_miner_with_other_hidden_states_fails(config: TrialConfig) -> None:
    found = await verdicts(config, ServedDistortedMiner(layers_shifted, tiny_calibration()))
    assert all((one.outcome, one.check) == ("fail", "sketch") for one in found)


async def test_a_miner_that_samples_otherwise_fails(config: TrialConfig) -> None:
    hotter = Writing(rule=lambda rule: replace(rule, temperature=3.0 if rule.temperature else 0.0))
    miner = ServedMiner(tiny_calibration(), writing=hotter)
    found = await verdicts(config, miner)
    assert any((one.outcome, one.check) == ("fail", "tokens") for one in found)


async def test_a_miner_that_answers_nothing_is_an_error_in_words(config: TrialConfig) -> None:
    with pytest.raises(ModelError, match="did not answer"):
        [one async for one in trial_audits(config, MINER, "127.0.0.1:1", MINER.ss58_address)]


def layers_shifted(states: Tensor, layer: int) -> Tensor:
    """Every other layer's hidden states, moved a little."""
    return states + 0.1 * float(states.std()) * (layer % 2)


class ServedDistortedMiner(ServedMiner, DistortedMiner):
    """A served miner whose hidden states come out changed."""
