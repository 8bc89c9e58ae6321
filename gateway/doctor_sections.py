"""The gateway's doctor: what it looks at, in order, the quick and the local first."""

import asyncio
from collections.abc import Mapping, Sequence
from pathlib import Path

from gateway.doctor import DoctorConfig
from gateway.doctor_process import check_model_files, judge_gateway
from shared.chain import Neuron
from shared.diagnosis import Finding, Section
from shared.diagnosis_chain import (
    judge_permit,
)
from shared.diagnosis_http import HealthAnswer
from shared.diagnosis_machine import judge_disk, judge_port, judge_reach
from shared.diagnosis_network import find_registration, look_at_chain
from shared.diagnosis_surroundings import ExaminedChain, Surroundings
from shared.diagnosis_versions import judge_versions
from shared.diagnosis_wallet import check_wallet
from shared.machine_facts import callable_host, pinned_versions

REQUIREMENTS = Path(__file__).parent.parent / "validator" / "requirements.txt"
LIBRARIES = ("bittensor", "tokenizers", "uvloop", "orjson")


class GatewayDoctor:
    """Looks one gateway over; later sections use what earlier ones found."""

    def __init__(self, config: DoctorConfig, around: Surroundings | None = None) -> None:
        self._config, self._around = config, around or Surroundings()
        self._hotkey: str | None = None
        self._answer = HealthAnswer(None)

    def sections(self) -> Mapping[str, Section]:
        """By subject, in the order in which they must run."""
        return {
            "versions": self._versions,
            "wallet": self._wallet,
            "port": self._port,
            "process": self._process,
            "disk": self._disk,
            "model": self._model,
            "chain": self._chain,
        }

    async def _versions(self) -> Sequence[Finding]:
        pins = pinned_versions(REQUIREMENTS)
        return judge_versions(LIBRARIES, pins, self._around.installed_version, REQUIREMENTS)

    async def _wallet(self) -> Sequence[Finding]:
        config = self._config
        self._hotkey, found = check_wallet(config.wallet, config.hotkey, config.wallet_path)
        return found

    async def _port(self) -> Sequence[Finding]:
        host, port = self._config.host, self._config.port
        self._answer = await self._around.ask_health(callable_host(host), port)
        ours = self._answer.is_of(self._hotkey)
        taken = self._around.port_taken_by(host, port)
        return [judge_port(host, port, taken, ours), *judge_reach(host, "clients")]

    async def _process(self) -> Sequence[Finding]:
        return judge_gateway(self._answer, self._hotkey)

    async def _disk(self) -> Sequence[Finding]:
        folder = self._config.state_dir.expanduser()
        return [judge_disk(folder, self._around.free_disk_bytes(folder), self._around.is_writable(folder))]

    async def _model(self) -> Sequence[Finding]:
        return await asyncio.to_thread(check_model_files, self._config)

    async def _chain(self) -> Sequence[Finding]:
        return await look_at_chain(self._around, self._config.network, self._config.netuid, self._standing)

    async def _standing(self, _: ExaminedChain, neurons: Sequence[Neuron], __: int) -> Sequence[Finding]:
        """Registration and permit of the hotkey."""
        config = self._config
        own, registered = find_registration(
            neurons, self._hotkey, config.netuid, config.wallet, config.hotkey, config.network
        )
        return [registered] if own is None else [registered, judge_permit(own)]
