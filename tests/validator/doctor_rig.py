"""A healthy validator for its doctor to look at: a real chain, wallet, model, calibration, log and store."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from localnet.wallets import Party, create_party
from shared.calibration import write_calibration
from shared.diagnosis import Finding, examine
from shared.diagnosis_surroundings import Surroundings
from shared.record_log import RecordWriter
from tests.miners.local_chain import LocalChain, local_chain
from tests.models import tiny_model
from tests.shared.doctor_surroundings import surroundings
from tests.shared.keys import MINER
from tests.validator.auditor_examples import many_records
from tests.validator.example_calibration import tiny_calibration
from validator.doctor import DoctorConfig
from validator.doctor_sections import ValidatorDoctor


@dataclass
class Patient:
    """A validator's settings and surroundings, to be spoiled; `examine` gives what is found."""

    config: DoctorConfig
    around: Surroundings
    chain: LocalChain
    party: Party
    health: dict[str, Any] = field(default_factory=dict)

    def spoil(self, **around: Any) -> None:
        """Replace surroundings."""
        self.around = replace(self.around, **around)

    def configure(self, **settings: Any) -> None:
        """Replace settings."""
        self.config = replace(self.config, **settings)

    async def examine(self) -> list[Finding]:
        """Everything that the doctor says."""
        doctor = ValidatorDoctor(self.config, self.around)
        return await examine(doctor.sections(), lambda finding: None)

    async def complaints(self) -> list[Finding]:
        """What the doctor says that asks for something."""
        return [one for one in await self.examine() if not one.well]


@asynccontextmanager
async def healthy_validator(
    folder: Path, permit: bool = True, register: bool = True
) -> AsyncIterator[Patient]:
    """A validator that nothing is wrong with; it does not run."""
    party = create_party("validator", folder / "wallets")
    (folder / "wallets" / "validator" / "coldkey").unlink()
    async with local_chain() as chain:
        if register:
            await chain.register(party, permit=permit)
        config = DoctorConfig(
            model=str(tiny_model()),
            calibration=str(_calibration(folder)),
            network=chain.url,
            wallet_path=folder / "wallets",
            state_dir=folder / "state",
            port=0,
        )
        _leave_a_record(config.records_folder)
        Path(config.store_location).mkdir()
        yield Patient(config, await surroundings(chain), chain, party)


def _calibration(folder: Path) -> Path:
    file = folder / "tiny.calibration"
    write_calibration(tiny_calibration(), file)
    return file


def _leave_a_record(folder: Path) -> None:
    folder.mkdir(parents=True)
    writer = RecordWriter(folder)
    writer.append(many_records(MINER, 1, [0])[0])
    writer.close()
