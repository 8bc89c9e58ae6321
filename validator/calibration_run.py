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
from shared.calibration import Calibration, read_calibration, write_calibration
from shared.calibration_header import CALIBRATION_FILE, CalibrationHeader, find_calibration
from shared.errors import ModelError
from shared.honest_noise import MARGIN_EDGES, HonestNoise
from shared.model_identity import generation_digest, local_folder, model_digest, public_model_name
from shared.peer_auth import sign_request
from shared.reference_model import ReferenceModel
from shared.wallets import load_hotkey
from validator.answer_checks import AnswerChecks
from validator.calibration_conditions import Condition, available_conditions, named_conditions
from validator.calibration_config import CalibrateConfig
from validator.calibration_limits import ConditionSamples, fit_noise
from validator.calibration_margins import miss_probability
from validator.calibration_miner import StartedMiner, running_miner
from validator.calibration_noise import HonestMiner, NoiseMeasurement
from validator.calibration_prompts import calibration_chats
from validator.calibration_requests import noise_requests
from validator.calibration_statistics import measure_statistics, tokenise_chats
from validator.calibration_traffic import MinerTraffic
from validator.clock import unix_ms
from validator.evidence import FAIL_P_VALUE
from validator.miner_client import MinerClient, http_client
from validator.model_tokenizer import load_tokenizer
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
            asyncio.run(until_terminated(measure_noise(config, find_calibration(config.model, file))))
        except asyncio.CancelledError:
            return False
    return True


async def until_terminated(work: Coroutine[None, None, None]) -> None:
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
    folder = local_folder(config.model)
    header = CalibrationHeader(
        model=public_model_name(config.model),
        model_digest=model_digest(folder),
        generation_digest=generation_digest(folder),
        num_layers=reference.num_layers,
        hidden_size=reference.hidden_size,
        reference=ReferenceModel.describe(config.device, getattr(torch, config.dtype)),
        statistics_tokens=found.tokens,
    )
    return Calibration(header, found.mean, found.deviation)


@asynccontextmanager
async def _miner(config: CalibrateConfig, file: Path, condition: Condition) -> AsyncIterator[StartedMiner]:
    if config.miner and config.miner_hotkey:
        caller = load_hotkey(config.wallet, config.hotkey, config.wallet_path)
        yield StartedMiner(base_url(*parse_endpoint(config.miner)), config.miner_hotkey, caller)
        return
    say(f"{condition.name}: starting a development chain and an honest miner ({condition.summary})")
    log_file = file.with_name(f"calibrate-{condition.name}.log")
    async with running_miner(config.model, file, condition, log_file) as started:
        yield started


def _conditions(config: CalibrateConfig) -> list[Condition]:
    if config.miner:
        return [Condition("given", f"the miner at {config.miner}", ())]
    return named_conditions(config.conditions, available_conditions(config.model))


async def measure_noise(config: CalibrateConfig, file: Path) -> None:
    """The noise stage: measure honest miners and write what audits judge by into `file`.

    Raises:
        ConstantinopleError: there is no honest miner to be had, or it does not answer as one.
    """
    calibration = read_calibration(file)
    worker = ReferenceWorker(lambda: _load_reference(config))
    measured: list[ConditionSamples] = []
    try:
        for condition in _conditions(config):
            measured.append(await _measure(config, file, calibration, condition, worker))
            _write_noise(fit_noise(measured, calibration.header.num_layers), calibration, file)
    finally:
        worker.close()


def _write_noise(noise: HonestNoise, calibration: Calibration, file: Path) -> None:
    """Write what is known after each condition: the next one's engine may not start."""
    header = calibration.header.model_copy(update={"noise": noise})
    write_calibration(Calibration(header, calibration.mean, calibration.deviation), file)
    _report(noise, file)


async def _measure(
    config: CalibrateConfig,
    file: Path,
    calibration: Calibration,
    condition: Condition,
    worker: ReferenceWorker,
) -> ConditionSamples:
    async with _miner(config, file, condition) as miner, http_client() as http:
        say(f"{condition.name}: the miner at {miner.url} answers; sending {config.requests} requests")
        honest = HonestMiner(
            miner.url.removeprefix("http://"),
            miner.hotkey,
            MinerTraffic(http, miner.caller, miner.url, miner.hotkey, unix_ms),
            MinerClient(miner.caller, http, allow_local=True),
        )
        checks = AnswerChecks.load(config.model)
        requests = noise_requests(
            calibration.header.model, calibration_chats(), config.requests, lambda: uuid.uuid4().hex
        )
        measurement = NoiseMeasurement(
            honest, worker, checks, calibration, lambda words: say(f"{condition.name}: {words}")
        )
        return ConditionSamples(
            condition.name, await _engine(http, miner), await measurement.samples(requests)
        )


async def _engine(http: httpx.AsyncClient, miner: StartedMiner) -> str:
    """The engine's own account of its version.

    Raises:
        ModelError: the miner can't be reached.
    """
    headers = sign_request(miner.caller, "GET", VERSION_PATH, b"", miner.hotkey)
    try:
        response = await http.get(miner.url + VERSION_PATH, headers=headers)
    except httpx.HTTPError as error:
        raise ModelError(f"the miner at {miner.url} did not answer: {error!r}") from None
    known = response.status_code == httpx.codes.OK
    return f"vLLM {response.json().get('version')}" if known else "vLLM of unknown version"


def _report(noise: HonestNoise, file: Path) -> None:
    first, last = noise.scale[0][-1], noise.scale[-1][-1]
    say(
        f"fitted on {noise.fitted_requests} requests, as many others held out\n"
        f"honest distance (geometric mean): {first:.3g} after the first layer, {last:.3g} after the last\n"
        f"of {noise.margins.tokens} output tokens, those that lead by 0.06 logits are missed with a "
        f"probability of {miss_probability(0.0625, noise.margins.scale, noise.margins.exponent):.2g}; audits "
        f"allow for {noise.margins.above[MARGIN_EDGES.index(0.0625)]:.2g}"
    )
    for name, tail in (
        ("typical", noise.typical),
        ("mean", noise.mean),
        ("replay", noise.replay),
    ):
        say(
            f"{name:8s} one honest audit in 50 above {tail.quantiles[-1]:.3g}, exponent {tail.exponent:.2f}; "
            f"audits fail above {tail.score_at(FAIL_P_VALUE):.3g}"
        )
    for one in noise.conditions:
        say(
            f"{one.condition:9s} held out: {one.false_alarms} false alarms in {one.held_out_audits} "
            f"statistics of {one.held_out_requests} requests, lowest p-value {one.lowest_p_value:.2g}, "
            f"{one.exact_tokens:.2%} of tokens exact"
        )
    say(f"{file}: written")
