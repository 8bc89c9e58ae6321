"""A healthy miner that runs, for its doctor to look at: a real chain with its axon, wallet and model."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from localnet.wallets import Party, create_party
from miners.doctor import DoctorConfig
from miners.doctor_engine import PLUGIN_GROUPS
from miners.doctor_sections import MinerDoctor
from miners.doctor_trial import TrialEnd
from shared.calibration import write_calibration
from shared.chain import SubtensorChain
from shared.diagnosis import Finding, examine
from shared.diagnosis_http import HealthAnswer
from shared.diagnosis_surroundings import Surroundings
from shared.wallets import load_wallet
from tests.miners.local_chain import LocalChain, local_chain
from tests.miners.running_miner import NETUID
from tests.models import TINY_MODEL, tiny_model
from tests.shared.doctor_surroundings import surroundings
from tests.validator.example_calibration import tiny_calibration

PORT = 8091

EVIDENCE = [
    {"statistic": "typical", "score": 1.1, "p_value": 0.31},
    {"statistic": "mean", "score": 1.2, "p_value": 0.22},
]


def an_audit(outcome: str = "pass", check: str = "all", reason: str = "every check held") -> dict[str, Any]:
    """One line of the trial's program."""
    verdict = {"outcome": outcome, "check": check, "reason": reason, "evidence": EVIDENCE}
    return {"fail_p_value": 1e-4, "verdict": {**verdict, "tokens": {"exact": 23, "checked": 24}}}


@dataclass
class Patient:
    """A miner's settings and surroundings, to be spoiled."""

    config: DoctorConfig
    around: Surroundings
    chain: LocalChain
    party: Party
    vllm_flags: Sequence[str] = ()
    plugins: Sequence[str] = tuple(PLUGIN_GROUPS.values())
    trial: TrialEnd = field(default_factory=lambda: TrialEnd([an_audit()], 0))
    trial_flags: Sequence[str] = ()

    def spoil(self, **around: Any) -> None:
        """Replace surroundings."""
        self.around = replace(self.around, **around)

    def configure(self, **settings: Any) -> None:
        """Replace settings."""
        self.config = replace(self.config, **settings)

    def say(self, at_axon: HealthAnswer | None = None, **body: Any) -> None:
        """What the miner says of itself, on its port and, unless another is given, at its axon."""
        said = {
            "status": "ok",
            "model": TINY_MODEL,
            "hotkey": self.party.hotkey,
            "calibration_digest": tiny_calibration().digest,
            **body,
        }
        calls: list[str] = []

        async def answer(host: str, port: int) -> HealthAnswer:
            calls.append(host)
            return HealthAnswer(said) if at_axon is None or len(calls) == 1 else at_axon

        self.spoil(ask_health=answer)

    async def _run_trial(self, flags: Sequence[str]) -> TrialEnd:
        self.trial_flags = flags
        return self.trial

    async def examine(self) -> list[Finding]:
        """Everything that the doctor says."""
        doctor = MinerDoctor(
            self.config, self.vllm_flags, self.around, lambda group: self.plugins, self._run_trial
        )
        return await examine(doctor.sections(), lambda finding: None)

    async def complaints(self) -> list[Finding]:
        """What the doctor says that asks for something."""
        return [one for one in await self.examine() if not one.well]


@asynccontextmanager
async def healthy_miner(folder: Path, register: bool = True, permit: bool = True) -> AsyncIterator[Patient]:
    """A miner that nothing is wrong with, and a validator on its subnet."""
    party, validator = (create_party(name, folder / "wallets") for name in ("miner", "validator"))
    (folder / "wallets" / "miner" / "coldkey").unlink()
    calibration = folder / "tiny.calibration"
    write_calibration(tiny_calibration(), calibration)
    async with local_chain() as chain:
        await chain.register(validator, permit=permit)
        config = DoctorConfig(
            model=str(tiny_model()),
            calibration=str(calibration),
            network=chain.url,
            wallet_path=folder / "wallets",
            state_dir=folder / "state",
            port=PORT,
        )
        if register:
            await chain.register(party)
            await publish_axon(chain, config, "127.0.0.1", PORT)
        patient = Patient(config, await surroundings(chain), chain, party)
        patient.say()
        patient.spoil(port_taken_by=lambda host, port: "another program")
        yield patient


async def publish_axon(chain: LocalChain, config: DoctorConfig, ip: str, port: int) -> None:
    """Publish an address as the miner does."""
    client = SubtensorChain(chain.url, NETUID, load_wallet("miner", "default", config.wallet_path))
    await client.serve_axon(ip, port)
    await client.close()
