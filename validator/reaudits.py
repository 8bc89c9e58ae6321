"""Repeats published audits with the model: text, receipt and answers stand in for gateway and miner."""

import asyncio
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import torch

from shared.calibration import Calibration, read_calibration
from shared.calibration_source import obtain_calibration
from shared.canonical import sha256_hex
from shared.errors import ConfigError, ConstantinopleError, ModelError
from shared.model_check import check_generation, check_weights
from shared.model_identity import local_folder, model_digest
from shared.reference_model import ReferenceModel
from validator.answer_checks import AnswerChecks
from validator.audit import Auditor
from validator.published_miner import PublishedMiner
from validator.reference_worker import ReferenceWorker
from validator.repeatable_audits import Repeatable, draw_audits, repeatable
from validator.replay_config import ReplayConfig
from validator.replay_epoch import LoadedEpoch
from validator.replay_report import CheckResult, fails, holds, unchecked
from validator.verdict_support import support_fault

REPEATABLE_DTYPE = "float32"
"""`validator.verdict_support` says why."""


def dtype_of(reference: str) -> str:
    """What the network's reference computes in, as its calibration file describes it: a type of torch's.

    Honest distances are those from this reference, and audits are made with it.
    """
    return "bfloat16" if "bfloat16" in reference else "float32"


class Reaudits:
    """Repeats audits, one after the other; the reference is loaded at the first. Blocks; to be closed."""

    def __init__(
        self,
        reference: ReferenceWorker,
        checks: AnswerChecks,
        calibration: Calibration,
        calibration_sha256: str,
        count: int,
        seed: int,
    ) -> None:
        self._reference, self._checks, self._calibration = reference, checks, calibration
        self._sha256 = calibration_sha256
        self._dtype = dtype_of(calibration.header.reference)
        self._count, self._seed = count, seed
        self._runner = asyncio.Runner()

    def close(self) -> None:
        """End the loop and the reference's thread."""
        self._reference.close()
        self._runner.close()

    def repeat(self, epoch: LoadedEpoch) -> tuple[CheckResult, list[tuple[int, str, str]]]:
        """Draw audits of an epoch, repeat them, and hold the verdicts against what comes of it."""
        if (audited_with := epoch.summary.calibration_sha256) != self._sha256:
            words = (
                f"the epoch was audited with the calibration file {audited_with[:16]}, here is "
                f"{self._sha256[:16]}: name the network's with --calibration"
            )
            return unchecked("re-audit", words, epoch.number), []
        if self._dtype != REPEATABLE_DTYPE:
            words = (
                f"the network's reference computes in {self._dtype}, in which no two machines come to the "
                "same distances: its audits can't be repeated"
            )
            return unchecked("re-audit", words, epoch.number), []
        keys, untold = draw_audits(epoch, self._count, self._seed)
        drawn = [(epoch.number, *key) for key in keys]
        audits = repeatable(epoch, keys)
        faults: list[str] = []
        troubles: list[str] = []
        for one in audits:
            try:
                faults += self._fault(one, epoch.summary.model)
            except ConstantinopleError as error:
                troubles.append(f"the audit of {one.stated.request_id} can't be repeated here: {error}")
        return self._result(epoch.number, len(audits), untold, faults, troubles), drawn

    def _fault(self, audit: Repeatable, model: str) -> list[str]:
        """What of a verdict the model does not support, in words; nothing when it supports it."""
        auditor = Auditor(
            PublishedMiner(audit.answers),
            self._reference,
            self._checks,
            self._calibration,
            model,
            lambda: audit.stated.audited_at_ms,
            _no_doubt,
        )
        repeated = self._runner.run(auditor.audit(audit.record, "", audit.block)).verdict
        fault = support_fault(audit.stated, repeated)
        name = f"the verdict on {audit.stated.request_id}"
        return [f"{name} is not supported by the model: it {fault}"] if fault else []

    def _result(
        self, epoch: int, repeated: int, untold: int, faults: Sequence[str], troubles: Sequence[str]
    ) -> CheckResult:
        rest = f"; {untold} can't be repeated, their text is not published" if untold else ""
        if faults:
            more = f"; and {len(faults) - 1} more" if len(faults) > 1 else ""
            return fails("re-audit", f"{faults[0]}{more}", epoch)
        if troubles:
            return unchecked("re-audit", f"{troubles[0]}, as {len(troubles)} of {repeated}{rest}", epoch)
        if not repeated:
            return unchecked("re-audit", f"there is no audit to repeat{rest}", epoch)
        words = f"{repeated} verdicts, drawn with --seed {self._seed}, are what the model supports"
        return holds("re-audit", words + rest, epoch)


async def _no_doubt() -> None:
    """Nobody is asked over a network, so no fault of one's own can be in the way."""


@contextmanager
def open_reaudits(config: ReplayConfig, folder: Path) -> Iterator[Reaudits]:
    """What repeats audits, as a replay is told to.

    Raises:
        ConfigError: model or calibration can't be had, or do not belong together.
    """
    assert config.model is not None
    reaudits = build_reaudits(
        config.model, config.device, config.calibration, folder, config.reaudit, config.seed
    )
    try:
        yield reaudits
    finally:
        reaudits.close()


def build_reaudits(
    model: str, device: str, named: str | None, folder: Path, count: int, seed: int
) -> Reaudits:
    """What repeats audits with this model; its weights are loaded at the first audit. Blocks.

    Args:
        named: a calibration file, or URL of a gateway that serves it.

    Raises:
        ConfigError: model or calibration can't be had, or do not belong together.
    """
    try:
        calibration, sha256 = matching_calibration(model, named, folder)
        checks = AnswerChecks.load(model)
    except ModelError as error:
        raise ConfigError(str(error)) from None
    dtype = getattr(torch, dtype_of(calibration.header.reference))
    reference = ReferenceWorker(lambda: ReferenceModel.load(model, device, dtype))
    return Reaudits(reference, checks, calibration, sha256, count, seed)


def matching_calibration(model: str, named: str | None, folder: Path) -> tuple[Calibration, str]:
    """The calibration, made with just this model, and the file's SHA-256. Blocks.

    Raises:
        ModelError: it can't be had, or was made with another: an honest miner would fail with it.
    """
    file = obtain_calibration(named, model, folder)
    calibration = read_calibration(file)
    model_folder = local_folder(model)
    check_generation(calibration.header, model_folder)
    check_weights(calibration.header, model_digest(model_folder), str(file))
    return calibration, sha256_hex(file.read_bytes())
