"""Everything that is settled before the engine starts, each step with a sentence in the log."""

import asyncio
import logging
import socket
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

from miners.admission import Admission
from miners.axon_address import axon_address
from miners.commitment_log import CommitmentLog
from miners.commitment_store import CommitmentStore
from miners.config import MinerConfig
from miners.engine_end import EngineEnd
from miners.registration import own_neuron, read_neurons_patiently
from miners.self_test import SelfTestReference
from miners.self_test_reference import reference_file, self_test_reference
from shared.calibration import Calibration, read_calibration
from shared.calibration_source import is_url, obtain_calibration
from shared.chain import Neuron, SubtensorChain
from shared.errors import ConfigError
from shared.model_check import check_generation, check_weights
from shared.model_identity import least_context_tokens, local_folder, model_digest
from shared.signing import Signer
from shared.wallets import load_wallet

log = logging.getLogger(__name__)


SEGMENTS_A_WINDOW = 8
"""On disk a commitment of a busy miner stays up to an eighth of the window longer than it is held."""


@dataclass(frozen=True)
class PreparedMiner:
    """What the engine's process needs of the preparation. `wallet` is a `bittensor.Wallet`."""

    config: MinerConfig
    wallet: object
    signer: Signer
    admission: Admission
    calibration_file: Path
    calibration: Calibration
    commitments: CommitmentStore
    reference: SelfTestReference
    engine_end: EngineEnd = field(default_factory=EngineEnd)


def prepare(config: MinerConfig) -> PreparedMiner:
    """Wallet, addresses, calibration, registration and the self-test's reference, the quick ones first.

    Raises:
        ConfigError: a setting is wrong.
        ModelError: the model or calibration is missing or damaged.
        NotRegistered: the hotkey has no uid.
        ChainError: the chain stayed unreachable, or has no such subnet.
    """
    wallet = load_wallet(config.wallet, config.hotkey, config.wallet_path)
    signer: Signer = wallet.hotkey
    log.info("wallet: hotkey %s (%s/%s)", signer.ss58_address, config.wallet, config.hotkey)
    axon = axon_address(config)
    check_port_is_free(config.host, config.port)
    log.info("address: gateways are to call %s", axon.text)
    calibration_file = _calibration_file(config)
    calibration = read_calibration(calibration_file)
    log.info("calibration: %s, digest %s", calibration_file, calibration.digest)
    neurons = asyncio.run(_registered(config, signer.ss58_address))
    commitments = kept_commitments(config, signer.ss58_address)
    folder = local_folder(config.model)
    check_generation(calibration.header, folder)
    check_context(config, folder)
    digest = model_digest(folder)
    compare_weights(calibration, digest, config.calibration)
    file = reference_file(config.state_dir.expanduser(), digest)
    return PreparedMiner(
        config=config,
        wallet=wallet,
        signer=signer,
        admission=admission_of(config, signer.ss58_address, neurons),
        calibration_file=calibration_file.resolve(),
        calibration=calibration,
        commitments=commitments,
        reference=self_test_reference(str(folder), config.hf_device, file),
    )


def _calibration_file(config: MinerConfig) -> Path:
    """The named file, or the one in the model's folder, which for a hub name is the local snapshot's."""
    model = config.model if config.calibration is not None else str(local_folder(config.model))
    return obtain_calibration(config.calibration, model, config.state_dir)


async def _registered(config: MinerConfig, hotkey: str) -> list[Neuron]:
    chain = SubtensorChain(config.network, config.netuid)
    try:
        neurons = await read_neurons_patiently(chain, asyncio.sleep)
    finally:
        await chain.close()
    own = own_neuron(neurons, hotkey, config)
    log.info("chain: uid %d on subnet %d of %s", own.uid, config.netuid, config.network)
    return neurons


def admission_of(config: MinerConfig, own: str, neurons: Sequence[Neuron]) -> Admission:
    """Whom the miner serves: its own hotkey too, with which its doctor audits it."""
    return Admission((*config.allow_hotkeys, own), neurons)


def kept_commitments(config: MinerConfig, hotkey: str) -> CommitmentStore:
    """The store with the operator's bounds, and in it what may still be challenged from before a restart.

    Raises:
        ConfigError: the folder of commitments can't be used.
    """
    folder = config.state_dir.expanduser() / "commitments" / hotkey
    limit_bytes, window_s = config.commitment_memory_mib << 20, config.challenge_window_seconds
    try:
        with ExitStack() as on_failure:
            disk = CommitmentLog(folder, hotkey, window_s / SEGMENTS_A_WINDOW, time.time)
            on_failure.callback(disk.close)
            store = CommitmentStore(limit_bytes, window_s, time.monotonic, disk)
            store.restore()
            on_failure.pop_all()
    except OSError as error:
        raise ConfigError(
            f"can't keep commitments in {folder}: {error.strerror}; "
            "repair or make room there, or pass another --state-dir"
        ) from None
    log.info("commitments: %d from before may still be challenged; kept in %s", len(store), folder)
    return store


def check_context(config: MinerConfig, folder: Path) -> None:
    """Check that the miner will serve as much context as auditors expect of every miner.

    Raises:
        ConfigError: `--max-model-len` is shorter.
    """
    least = least_context_tokens(folder)
    if config.max_model_len is not None and config.max_model_len < least:
        raise ConfigError(
            f"--max-model-len {config.max_model_len} is less than the {least} tokens that every miner of "
            "this model serves: answers that end there would fail audits as cut short; raise it, and where "
            "memory lacks lower --max-num-seqs or raise --gpu-memory-utilization"
        )


def compare_weights(calibration: Calibration, digest: str, named: str | None) -> None:
    """Hold the weights' digest against the calibration's.

    A file that the operator chose may be for others, for trying things out; one from a gateway may not.

    Raises:
        ModelError: the calibration was fetched, and is for another model.
    """
    expected = calibration.header.model_digest
    if named is not None and is_url(named):
        check_weights(calibration.header, digest, named)
    elif digest != expected:
        log.warning(
            "the calibration file is for weights with digest %s, these have %s; unless the self-test passes, "
            "use the network's model and its calibration file",
            expected[:16],
            digest[:16],
        )


def check_port_is_free(host: str, port: int) -> None:
    """Find out now, and not after minutes of loading.

    Raises:
        ConfigError: the address can't be listened on.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            raise ConfigError(
                f"can't listen on {host} port {port}: {error.strerror}; choose another with --port"
            ) from None
