"""The two stages of a calibration, one after the other, told in words."""

import asyncio
import signal
import uuid
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import torch

from shared.addresses import base_url, parse_endpoint
from shared.calibration import (
    CALIBRATION_FILE,
    Calibration,
    CalibrationHeader,
    HonestNoise,
    find_calibration,
    read_calibration,
    write_calibration,
)
from shared.model_identity import local_folder, model_digest, public_model_name
from shared.peer_auth import sign_request
from shared.reference_model import ReferenceModel
from shared.wallets import load_hotkey
from validator.calibration_config import CalibrateConfig
from validator.calibration_limits import fit_noise, held_out_replays
from validator.calibration_miner import StartedMiner, honest_miner
from validator.calibration_noise import HonestMiner, NoiseMeasurement
from validator.calibration_prompts import calibration_chats
from validator.calibration_requests import noise_requests
from validator.calibration_statistics import measure_statistics, tokenise_chats
from validator.calibration_traffic import MinerTraffic
from validator.clock import unix_ms
from validator.miner_client import MinerClient, http_client
from validator.prompt_rendering import PromptRenderer, load_tokenizer
from validator.reference_worker import ReferenceWorker

VERSION_PATH = "/version"


def say(words: str) -> None:
    """One line of progress."""
    print(words, flush=True)


def calibrate(config: CalibrateConfig) -> bool:
    """Run the stages that `config` asks for and write the file after each; False when SIGTERM ended it.

    Raises:
        ConstantinopleError: a stage failed; what an earlier one wrote stays.
    """
    file = config.out.expanduser() if config.out else local_folder(config.model) / CALIBRATION_FILE
    if config.stage in ("all", "statistics"):
        write_calibration(_statistics(config), file)
        say(f"{file}: statistics written; digest {read_calibration(file).digest}")
    if config.stage in ("all", "noise"):
        try:
            asyncio.run(_until_terminated(measure_noise(config, find_calibration(config.model, file))))
        except asyncio.CancelledError:
            return False
    return True


async def _until_terminated(work: Coroutine[None, None, None]) -> None:
    """Await `work`; SIGTERM cancels it, so that the processes that it started are stopped."""
    task = asyncio.ensure_future(work)
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    await task


def _load_reference(config: CalibrateConfig) -> ReferenceModel:
    return ReferenceModel.load(config.model, config.device, getattr(torch, config.dtype))


def _statistics(config: CalibrateConfig) -> Calibration:
    say(f"loading the reference model {config.model}")
    reference = _load_reference(config)
    sequences = tokenise_chats(load_tokenizer(config.model), calibration_chats())
    found = measure_statistics(reference, sequences, say)
    say(
        f"position 0 is left out: its vector, up to {found.sink_ratio:.0f} times as long as the others, "
        "depends on the first token alone"
    )
    header = CalibrationHeader(
        model=public_model_name(config.model),
        model_digest=model_digest(local_folder(config.model)),
        num_layers=reference.num_layers,
        hidden_size=reference.hidden_size,
        reference=ReferenceModel.describe(config.device, getattr(torch, config.dtype)),
        statistics_tokens=found.tokens,
    )
    return Calibration(header, found.mean, found.deviation)


@asynccontextmanager
async def _miner(config: CalibrateConfig, file: Path) -> AsyncIterator[StartedMiner]:
    if config.miner and config.miner_hotkey:
        caller = load_hotkey(config.wallet, config.hotkey, config.wallet_path)
        yield StartedMiner(base_url(*parse_endpoint(config.miner)), config.miner_hotkey, caller)
        return
    say("starting a development chain and an honest miner; the engine takes a minute or more")
    async with honest_miner(config.model, file) as started:
        yield started


async def measure_noise(config: CalibrateConfig, file: Path) -> None:
    """The noise stage: measure against an honest miner and write the limits into `file`.

    Raises:
        ConstantinopleError: there is no honest miner to be had, or it does not answer as one.
    """
    calibration = read_calibration(file)
    async with _miner(config, file) as miner, http_client() as http:
        say(f"the miner at {miner.url} answers; sending {config.requests} requests")
        axon = miner.url.removeprefix("http://")
        honest = HonestMiner(
            axon,
            miner.hotkey,
            MinerTraffic(http, miner.caller, miner.url, miner.hotkey, unix_ms),
            MinerClient(miner.caller, http, allow_local=True),
        )
        worker = ReferenceWorker(lambda: _load_reference(config))
        renderer = PromptRenderer.load(config.model)
        requests = noise_requests(
            calibration.header.model, calibration_chats(), config.requests, lambda: uuid.uuid4().hex
        )
        samples = await NoiseMeasurement(honest, worker, renderer, calibration, say).samples(requests)
        engine = await _engine(http, miner)
    worker.close()
    noise = fit_noise(samples, calibration.header.num_layers)
    header = calibration.header.model_copy(update={"noise": noise, "engine": engine})
    write_calibration(Calibration(header, calibration.mean, calibration.deviation), file)
    _report(noise, held_out_replays(samples, noise), file)


async def _engine(http: httpx.AsyncClient, miner: StartedMiner) -> str | None:
    """The engine's own account of its version, or None when it gives none."""
    headers = sign_request(miner.caller, "GET", VERSION_PATH, b"", miner.hotkey)
    response = await http.get(miner.url + VERSION_PATH, headers=headers)
    if response.status_code != httpx.codes.OK:
        return None
    return f"vLLM {response.json().get('version', 'of unknown version')}"


def _report(noise: HonestNoise, replays: list[float], file: Path) -> None:
    alarms = sum(score > noise.replay_limit for score in replays)
    say(
        f"fitted on {noise.fitted_requests} requests, tried on {noise.held_out_requests} others\n"
        f"mean honest distance: {noise.layer_scale[0]:.3g} after the first layer, "
        f"{noise.layer_scale[-1]:.3g} after the last\n"
        f"audit limit {noise.audit_limit:.3f}: highest held-out score {noise.held_out_highest:.3f}, "
        f"{noise.held_out_false_alarms} false alarms\n"
        f"replay limit {noise.replay_limit:.3f}: highest held-out score {max(replays):.3f}, "
        f"{alarms} false alarms in {len(replays)}\n"
        f"{file}: limits written"
    )
