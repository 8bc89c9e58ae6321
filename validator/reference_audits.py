"""The auditor of a real network: reference model, calibration file, prompt renderer, miners over HTTP."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from shared.calibration import find_calibration, read_calibration
from shared.chain import Chain, is_local_network
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
    file = find_calibration(config.model, config.calibration)
    calibration = read_calibration(file)
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
