"""One miner audited now, by requests of one's own, exactly as the audit validator does it.

Only the block that an audit's draw takes its luck from is made up.
"""

import secrets
import uuid
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import httpx

from shared.calibration import read_calibration
from shared.calibration_header import find_calibration
from shared.chain import Block
from shared.model_identity import public_model_name
from shared.reference_model import ReferenceModel
from shared.signing import Signer
from validator.answer_checks import AnswerChecks
from validator.audit import Auditor
from validator.calibration_prompts import calibration_chats
from validator.calibration_requests import noise_requests
from validator.calibration_traffic import MinerTraffic
from validator.clock import unix_ms
from validator.miner_client import MinerClient, http_client
from validator.reference_worker import ReferenceWorker
from validator.trial_config import TrialConfig
from validator.verdicts import Verdict


async def trial_audits(
    config: TrialConfig,
    signer: Signer,
    axon: str,
    hotkey: str,
    new_id: Callable[[], str] = lambda: uuid.uuid4().hex,
) -> AsyncIterator[Verdict]:
    """The verdict on each answer of the miner `hotkey` at `axon`, "ip:port", as it is reached.

    Raises:
        ModelError: model or calibration can't be had, or the miner did not answer a request.
    """
    model = config.served_model_name or public_model_name(config.model)
    requests = noise_requests(model, calibration_chats(), config.first + config.trials, new_id)
    async with http_client() as http, _auditor(config, signer, model, http) as auditor:
        traffic = MinerTraffic(http, signer, f"http://{axon}", hotkey, unix_ms)
        for request in requests[config.first :]:
            record = await traffic.ask(request)
            block = Block(0, f"0x{secrets.token_hex(32)}", unix_ms())
            yield (await auditor.audit(record, axon, block)).verdict


@asynccontextmanager
async def _auditor(
    config: TrialConfig, signer: Signer, model: str, http: httpx.AsyncClient
) -> AsyncIterator[Auditor]:
    calibration = read_calibration(find_calibration(config.model, config.calibration))
    reference = ReferenceWorker(lambda: ReferenceModel.load(config.model, config.device))
    try:
        miners = MinerClient(signer, http, allow_local=True)
        checks = AnswerChecks.load(config.model)
        yield Auditor(miners, reference, checks, calibration, model, unix_ms, _own_side_is_in_order)
    finally:
        reference.close()


async def _own_side_is_in_order() -> None:
    """Nobody is blamed by a trial."""
