"""The validator's doctor: what it looks at, in order, the quick and the local first."""

import asyncio
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch

from shared.chain import Neuron
from shared.diagnosis import Finding, Section, note
from shared.diagnosis_chain import (
    judge_permit,
)
from shared.diagnosis_http import HealthAnswer
from shared.diagnosis_machine import judge_disk, judge_exposure, judge_gpu, judge_memory, judge_port
from shared.diagnosis_model import ModelFacts, check_model
from shared.diagnosis_network import find_registration, look_at_chain
from shared.diagnosis_surroundings import ExaminedChain, Surroundings
from shared.diagnosis_versions import judge_versions
from shared.diagnosis_wallet import check_wallet
from shared.machine_facts import callable_host, pinned_versions
from shared.object_store import open_store
from shared.reference_memory import BESIDE_WEIGHTS_BYTES, reference_bytes
from validator.audit_config import AuditConfig
from validator.doctor_chain import judge_stake, judge_weights
from validator.doctor_process import check_records, check_store, judge_health

REQUIREMENTS = Path(__file__).with_name("requirements.txt")
LIBRARIES = ("bittensor", "torch", "transformers")


class ValidatorDoctor:
    """Looks one audit validator over; later sections use what earlier ones found."""

    def __init__(self, config: AuditConfig, around: Surroundings | None = None) -> None:
        self._config, self._around = config, around or Surroundings()
        self._hotkey: str | None = None
        self._answer = HealthAnswer(None)
        self._model = ModelFacts()

    def sections(self) -> Mapping[str, Section]:
        """By subject, in the order in which they must run."""
        return {
            "versions": self._versions,
            "wallet": self._wallet,
            "port": self._port,
            "process": self._process,
            "disk": self._disk,
            "model": self._look_at_model,
            "memory": self._room_for_reference,
            "records": self._records,
            "store": self._store,
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
        taken = self._around.port_taken_by(host, port)
        exposed = judge_exposure(host, "the auditor's status page")
        return [judge_port(host, port, taken, self._runs()), *exposed]

    def _runs(self) -> bool:
        return self._answer.is_of(self._hotkey)

    async def _process(self) -> Sequence[Finding]:
        return judge_health(self._answer, self._hotkey)

    async def _disk(self) -> Sequence[Finding]:
        folder = self._config.state_folder
        return [judge_disk(folder, self._around.free_disk_bytes(folder), self._around.is_writable(folder))]

    async def _look_at_model(self) -> Sequence[Finding]:
        config = self._config
        self._model, found = await asyncio.to_thread(
            check_model, config.model, config.calibration, config.state_folder
        )
        return found

    async def _room_for_reference(self) -> Sequence[Finding]:
        stored = self._model.stored_bytes
        if stored is None:
            return []
        device = torch.device(self._config.device)
        what = f"the reference model on {self._config.device}"
        if device.type == "cuda":
            gpus, number = self._around.visible_gpus(), device.index or 0
            return [judge_gpu(gpus, number, stored + BESIDE_WEIGHTS_BYTES, what, free=not self._runs())]
        available = self._around.available_memory_bytes()
        if self._runs() or available is None:
            return []
        return [judge_memory(available, reference_bytes(stored), what)]

    async def _records(self) -> Sequence[Finding]:
        places = self._config.record_places.values()
        return [await asyncio.to_thread(check_records, place) for place in places]

    async def _store(self) -> Sequence[Finding]:
        return [await asyncio.to_thread(self._look_at_store)]

    def _look_at_store(self) -> Finding:
        config = self._config
        location = config.store_location
        if "://" not in location and not Path(location).expanduser().is_dir():
            return note("store", f"{location} is not there yet; the auditor makes it")
        store = open_store(location, config.store_endpoint, config.store_region)
        return check_store(store, location, self._hotkey)

    async def _chain(self) -> Sequence[Finding]:
        return await look_at_chain(self._around, self._config.network, self._config.netuid, self._standing)

    async def _standing(
        self, chain: ExaminedChain, neurons: Sequence[Neuron], head: int
    ) -> Sequence[Finding]:
        """Registration, permit, stake and weights of the hotkey."""
        config = self._config
        own, registered = find_registration(
            neurons, self._hotkey, config.netuid, config.wallet, config.hotkey, config.network
        )
        if own is None:
            return [registered]
        limit = await chain.weights_rate_limit()
        weights = judge_weights(own, head, config.epoch_seconds, limit)
        return [registered, judge_permit(own), judge_stake(own), *weights]
