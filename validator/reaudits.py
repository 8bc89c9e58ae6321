"""Repeats published audits with the model: text, receipt and answers stand in for gateway and miner."""

import asyncio
import random
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from shared.calibration import Calibration, read_calibration
from shared.calibration_source import obtain_calibration
from shared.canonical import sha256_hex
from shared.chain import Block
from shared.errors import ConfigError, ConstantinopleError, ModelError
from shared.model_check import check_generation, check_weights
from shared.model_identity import local_folder, model_digest
from shared.records import ChoiceRecord, RequestRecord
from shared.reference_model import ReferenceModel
from shared.request_facts import RequestFacts
from validator.answer_checks import AnswerChecks
from validator.audit import Auditor
from validator.published_miner import PublishedMiner
from validator.published_rows import ChallengeAnswers, PublishedText
from validator.reference_worker import ReferenceWorker
from validator.replay_config import ReplayConfig
from validator.replay_epoch import LoadedEpoch
from validator.replay_report import CheckResult, fails, holds, unchecked
from validator.request_state import RequestKey
from validator.verdict_support import support_fault
from validator.verdicts import Verdict


def record_of(facts: RequestFacts, text: PublishedText) -> RequestRecord:
    """The gateway's record of an answer whose text is published."""
    shared: dict[str, Any] = {
        name: value for name, value in facts if name in RequestRecord.model_fields and name != "version"
    }
    choices = tuple(ChoiceRecord(**dict(one)) for one in text.choices)
    receipt = facts.receipt.model_dump(mode="json") if facts.receipt else None
    told = {"choices": choices, "receipt": receipt, "request_body": text.request_body}
    return RequestRecord(**shared | told, store=True, error=None)


@dataclass(frozen=True)
class Repeatable:
    """One published audit with all that it is repeated from."""

    stated: Verdict
    record: RequestRecord
    block: Block
    answers: ChallengeAnswers | None


def repeatable(epoch: LoadedEpoch, keys: Sequence[RequestKey]) -> list[Repeatable]:
    """The audits of these keys, in order; those without published text are left out."""
    wanted = set(keys)
    facts = {one.key: one for one in epoch.records.facts if one.key in wanted}
    answers = {one.key: one for one in epoch.openings() if one.key in wanted}
    texts = {one.key: one for one in epoch.texts() if one.key in wanted}
    return [
        Repeatable(
            epoch.verdicts[key],
            record_of(facts[key], texts[key]),
            _block(epoch.verdicts[key]),
            answers.get(key),
        )
        for key in keys
        if key in texts
    ]


def _block(verdict: Verdict) -> Block:
    """The time of the block decides nothing any more."""
    return Block(verdict.challenge_block, verdict.challenge_block_hash, 0)


def draw_audits(epoch: LoadedEpoch, count: int, seed: int) -> tuple[list[RequestKey], int]:
    """So many audits of an epoch by chance, and how many can't be repeated for want of a text."""
    told = {one.key for one in epoch.records.facts if one.text_published}
    keys = sorted(key for key in epoch.verdicts if key in told)
    chance = random.Random(f"{seed}/{epoch.number}")
    return sorted(chance.sample(keys, min(count, len(keys)))), len(epoch.verdicts) - len(keys)


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
