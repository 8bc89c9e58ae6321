"""The auditor of a real network: reference model, calibration file, prompt renderer, miners over HTTP."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from shared.calibration import Calibration, read_calibration
from shared.calibration_source import is_url, obtain_calibration
from shared.chain import Chain, is_local_network
from shared.model_check import check_generation, check_weights
from shared.model_identity import local_folder, model_digest
from shared.reference_model import ReferenceModel
from shared.signing import Signer
from validator.answer_checks import AnswerChecks
from validator.audit import Auditor
from validator.audit_config import AuditConfig
from validator.blame import OwnFault
from validator.clock import unix_ms
from validator.miner_client import MinerClient, http_client
from validator.reference_worker import ReferenceWorker


@asynccontextmanager
async def reference_auditor(
    config: AuditConfig, signer: Signer, chain: Chain, model: str
) -> AsyncIterator[tuple[Auditor, Path]]:
    """The auditor, its reference model loaded, and the calibration file that it judges by.

    Raises:
        ModelError: model, tokenizer or calibration are missing or do not fit.
    """
    file, calibration = await asyncio.to_thread(audit_calibration, config)
    checks = AnswerChecks.load(config.model)
    reference = ReferenceWorker(lambda: ReferenceModel.load(config.model, config.device))
    blame = OwnFault(chain, signer.ss58_address)
    try:
        async with http_client() as http:
            miners = MinerClient(signer, http, is_local_network(config.network))
            auditor = Auditor(miners, reference, checks, calibration, model, unix_ms, blame.rule_out)
            await reference.load()
            yield auditor, file
    finally:
        reference.close()


def audit_calibration(config: AuditConfig) -> tuple[Path, Calibration]:
    """The calibration file, held against the model on this machine. Blocks.

    Raises:
        ModelError: it can't be had, is damaged, or is not for this model.
    """
    file = obtain_calibration(config.calibration, config.model, config.state_folder)
    calibration = read_calibration(file)
    folder = local_folder(config.model)
    check_generation(calibration.header, folder)
    if config.calibration is not None and is_url(config.calibration):
        check_weights(calibration.header, model_digest(folder), config.calibration)
    return file, calibration
