"""The miner's doctor: what it looks at, in order, the quick and the local first."""

import asyncio
from collections.abc import Mapping, Sequence
from pathlib import Path

from miners.axon_address import AxonAddress, axon_address
from miners.doctor import DoctorConfig
from miners.doctor_axon import judge_axon, judge_gateway, judge_reach
from miners.doctor_engine import (
    Names,
    entry_point_names,
    judge_commitment_disk,
    judge_engine_gpus,
    judge_engine_memory,
    judge_plugins,
)
from miners.doctor_trial import SUBJECT as TRIAL
from miners.doctor_trial import RunTrial, judge_trial, run_trial
from miners.preparation import check_context
from miners.vllm_arguments import public_name, vllm_arguments
from shared.addresses import is_callable_address
from shared.calibration_source import is_url
from shared.chain import Neuron, is_local_network
from shared.diagnosis import Finding, Section, bad, note, ok, warn
from shared.diagnosis_http import HealthAnswer
from shared.diagnosis_machine import GIB, judge_port
from shared.diagnosis_machine import judge_reach as judge_listening
from shared.diagnosis_model import ModelFacts, check_model
from shared.diagnosis_network import find_registration, look_at_chain
from shared.diagnosis_surroundings import ExaminedChain, Surroundings
from shared.diagnosis_versions import judge_versions
from shared.diagnosis_wallet import check_wallet
from shared.errors import ConfigError
from shared.machine_facts import callable_host, pinned_versions
from shared.reference_memory import reference_bytes

REQUIREMENTS = Path(__file__).with_name("requirements.txt")
LIBRARIES = ("bittensor", "vllm", "transformers")


class MinerDoctor:
    """Looks one miner over; later sections use what earlier ones found."""

    def __init__(
        self,
        config: DoctorConfig,
        vllm_flags: Sequence[str] = (),
        around: Surroundings | None = None,
        plugins: Names = entry_point_names,
        trial: RunTrial = run_trial,
    ) -> None:
        self._config, self._vllm_flags = config, vllm_flags
        self._around, self._plugins, self._trial = around or Surroundings(), plugins, trial
        self._hotkey: str | None = None
        self._answer = HealthAnswer(None)
        self._model = ModelFacts()
        self._axon: AxonAddress | None = None

    def sections(self) -> Mapping[str, Section]:
        """By subject, in the order in which they must run."""
        return {
            "versions": self._versions,
            "flags": self._flags,
            "wallet": self._wallet,
            "port": self._port,
            "disk": self._disk,
            "model": self._look_at_model,
            "engine": self._room_for_engine,
            "address": self._address,
            "chain": self._chain,
            TRIAL: self._try,
        }

    async def _versions(self) -> Sequence[Finding]:
        pins = pinned_versions(REQUIREMENTS)
        versions = judge_versions(LIBRARIES, pins, self._around.installed_version, REQUIREMENTS)
        return [*versions, judge_plugins(self._plugins)]

    async def _flags(self) -> Sequence[Finding]:
        try:
            vllm_arguments(self._config, self._vllm_flags)
        except ConfigError as error:
            return [bad("flags", str(error), "leave the flag out")]
        passed = f"; to vLLM go {' '.join(self._vllm_flags)}" if self._vllm_flags else ""
        return [ok("flags", f"the miner takes these flags{passed}")]

    async def _wallet(self) -> Sequence[Finding]:
        config = self._config
        self._hotkey, found = check_wallet(config.wallet, config.hotkey, config.wallet_path)
        return found

    async def _port(self) -> Sequence[Finding]:
        host, port = self._config.host, self._config.port
        self._answer = await self._around.ask_health(callable_host(host), port)
        found = [judge_port(host, port, self._around.port_taken_by(host, port), self._runs())]
        if not is_local_network(self._config.network):
            found += judge_listening(host, "gateways")
        return [*found, *self._running()]

    def _runs(self) -> bool:
        return self._answer.is_of(self._hotkey)

    def _running(self) -> Sequence[Finding]:
        if not self._runs():
            return [note("process", f"no miner answers on the port: {self._answer.failure}")]
        body = self._answer.body or {}
        if body.get("status") != "ok":
            return [bad("process", f"the miner says: {body.get('status')}", "see its log and start it again")]
        return [ok("process", f"the miner runs and serves {body.get('model')}")]

    async def _disk(self) -> Sequence[Finding]:
        folder = self._config.state_dir.expanduser()
        free, writable = self._around.free_disk_bytes(folder), self._around.is_writable(folder)
        return [judge_commitment_disk(self._config, free, writable)]

    async def _look_at_model(self) -> Sequence[Finding]:
        config = self._config
        self._model, found = await asyncio.to_thread(
            check_model, config.model, config.calibration, config.state_dir
        )
        return [*found, *self._context(), *self._served_calibration()]

    def _context(self) -> Sequence[Finding]:
        if self._model.folder is None:
            return []
        try:
            check_context(self._config, self._model.folder)
        except ConfigError as error:
            return [bad("context", str(error), "raise --max-model-len")]
        return []

    def _served_calibration(self) -> Sequence[Finding]:
        """Whether the running miner commits by the calibration that lies here."""
        served = (self._answer.body or {}).get("calibration_digest")
        ours = self._model.calibration
        if not self._runs() or ours is None or served == ours.digest:
            return []
        words = (
            f"the running miner uses the calibration {str(served)[:16]}, the file here is {ours.digest[:16]}"
        )
        return [warn("calibration", words, "start the miner again, with the flags that the doctor got")]

    async def _room_for_engine(self) -> Sequence[Finding]:
        stored = self._model.stored_bytes
        if stored is None:
            return []
        if self._around.installed_version("vllm") is None:
            return judge_engine_memory(self._around.available_memory_bytes(), stored, self._runs())
        return judge_engine_gpus(self._around.visible_gpus(), self._config, stored, self._runs())

    async def _address(self) -> Sequence[Finding]:
        try:
            self._axon = axon_address(self._config)
        except ConfigError as error:
            return [bad("address", str(error), "pass --axon-ip")]
        local = is_local_network(self._config.network)
        if not is_callable_address(self._axon.ip, local):
            words = f"gateways don't call {self._axon.ip}, which is not a public address"
            return [bad("address", words, "pass --axon-ip with the public address that leads here")]
        answer = HealthAnswer(None)
        if self._runs():
            answer = await self._around.ask_health(self._axon.ip, self._axon.port)
        return [
            ok("address", f"gateways are told {self._axon.text}"),
            *judge_reach(self._axon, answer, self._runs(), self._hotkey),
            *await self._seen_from_outside(),
        ]

    async def _seen_from_outside(self) -> Sequence[Finding]:
        config = self._config
        named = config.calibration if config.calibration and is_url(config.calibration) else None
        gateway = (config.gateway or named or "").rstrip("/")
        if not gateway or not self._runs() or self._hotkey is None:
            return []
        answer = await self._around.read_json(f"{gateway}/health")
        return [judge_gateway(gateway, answer, self._hotkey)]

    async def _chain(self) -> Sequence[Finding]:
        return await look_at_chain(self._around, self._config.network, self._config.netuid, self._standing)

    async def _standing(self, _: ExaminedChain, neurons: Sequence[Neuron], __: int) -> Sequence[Finding]:
        """Registration and axon of the hotkey, and whether anybody may call it."""
        config = self._config
        own, registered = find_registration(
            neurons, self._hotkey, config.netuid, config.wallet, config.hotkey, config.network
        )
        found = [registered]
        if self._hotkey is None:
            return found
        if own is not None and self._axon is not None:
            found.append(judge_axon(own, self._axon, self._runs()))
        if not any(neuron.validator_permit for neuron in neurons) and not config.allow_hotkeys:
            words = "no hotkey of the subnet has a validator permit, so nobody may call this miner"
            found.append(warn("callers", words, "name a gateway's hotkey with --allow-hotkeys"))
        return found

    async def _try(self) -> Sequence[Finding]:
        reason = self._why_not_tried()
        if reason:
            return [note(TRIAL, f"not audited here: {reason}")]
        return judge_trial(await self._trial(self._trial_flags()))

    def _why_not_tried(self) -> str:
        """Why no trial audit can tell anything, in words; empty when one can."""
        config, calibration = self._config, self._model.calibration
        if config.trials == 0:
            return "--trials is 0"
        if not self._runs():
            return "the miner does not run"
        if self._model.folder is None or calibration is None:
            return "the model or its calibration file is missing here"
        if calibration.header.noise is None:
            return "the calibration file holds no honest noise to judge by"
        if not _may_be_challenged(callable_host(config.host)):
            return f"challenges go to public and loopback IP addresses only, not to {config.host}"
        needed = reference_bytes(self._model.stored_bytes or 0)
        available = self._around.available_memory_bytes()
        if available is not None and available < needed:
            return f"the reference takes {needed / GIB:.1f} GiB, {available / GIB:.1f} GiB are available"
        return ""

    def _trial_flags(self) -> Sequence[str]:
        config, host = self._config, callable_host(self._config.host)
        axon = AxonAddress(host, config.port)
        return [
            *("--model", str(self._model.folder), "--served-model-name", public_name(config)),
            *("--calibration", str(self._model.calibration_file), "--device", "cpu"),
            *("--wallet", config.wallet, "--hotkey", config.hotkey),
            *("--wallet-path", str(config.wallet_path.expanduser()), "--axon", axon.text),
            *("--miner-hotkey", str(self._hotkey), "--trials", str(config.trials)),
        ]


def _may_be_challenged(host: str) -> bool:
    try:
        return is_callable_address(host, allow_local=True)
    except ValueError:
        return False
