"""One audit of one answered request: from the record to a verdict."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

from torch import Tensor

from shared.calibration import Calibration
from shared.chain import Block
from shared.challenges import OpenAnswer, OpenPoint, OpenRequest, ReplayAnswer, ReplayPoint, ReplayRequest
from shared.commitments import Opening, Point
from shared.errors import ModelError, NotReproducible
from shared.honest_noise import HonestNoise
from shared.receipts import Receipt
from shared.records import RequestRecord
from validator.answer_checks import AnswerChecks
from validator.audit_report import AuditReport
from validator.challenge_selection import draw_points, draw_replay_point, record_seed
from validator.clock import Clock
from validator.evidence import UNANSWERED_LOG_E, log_e_value, weigh
from validator.evidence_families import family_ratios
from validator.findings import Finding, failed, inconclusive
from validator.miner_client import Challenged, Malformed, Refused, Unreachable
from validator.published_rows import ChallengeAnswers, ChallengeExchange, IssuedChallenge, ReplayPlace
from validator.receipt_verification import (
    check_lengths,
    check_prompts,
    check_statement,
    check_vocabulary,
    read_receipt,
)
from validator.reference_worker import ReferenceWorker
from validator.verdicts import MAX_REASON_CHARACTERS, AuditedPoint, Evidence, TokenCheck, Verdict
from validator.verification import (
    check_evidence,
    check_openings,
    check_replay_against_opening,
    read_replay,
    replay_score,
    score_sketches,
)

T = TypeVar("T")
TokenIds = Mapping[int, Sequence[int]]

ConfirmBlame = Callable[[], Awaitable[None]]
"""Called before a miner is blamed for not answering; raises a ConstantinopleError when the fault may be
the auditor's: its own network is down, or its hotkey lacks the validator permit that miners ask for."""


class _Decided(Exception):
    """Ends an examination once a check has decided it."""

    def __init__(self, finding: Finding) -> None:
        super().__init__(finding.reason)
        self.finding = finding


def _held(result: Finding | T) -> T:
    """What a check returned, unless it decided."""
    if isinstance(result, Finding):
        raise _Decided(result)
    return result


@dataclass
class _Measured:
    """What an examination has asked and measured so far."""

    asked: tuple[Sequence[Point], Point] | None = None
    opened: OpenAnswer | None = None
    replayed: ReplayAnswer | None = None

    points: tuple[AuditedPoint, ...] = ()
    evidence: tuple[Evidence, ...] = ()
    tokens: TokenCheck | None = None
    text_unchecked: str = ""


@dataclass(frozen=True)
class _Answers:
    """What the miner answered, read and proven against its commitment, not yet compared."""

    openings: list[Opening]
    replay_point: Point
    replay_vector: Tensor


class Auditor:
    """Audits answered requests of one model; `model` is its public name.

    Raises:
        ModelError: the calibration has no noise measurement, so nothing can be judged by it.
    """

    def __init__(
        self,
        client: Challenged,
        reference: ReferenceWorker,
        checks: AnswerChecks,
        calibration: Calibration,
        model: str,
        clock: Clock,
        confirm_blame: ConfirmBlame,
    ) -> None:
        if calibration.header.noise is None:
            raise ModelError(
                f"the calibration of {calibration.header.model} holds statistics but no honest noise; "
                "complete it with: python -m validator.calibrate --stage noise"
            )
        self._noise: HonestNoise = calibration.header.noise
        self._client, self._reference, self._checks = client, reference, checks
        self._calibration, self._model = calibration, model
        self._clock, self._confirm_blame = clock, confirm_blame
        self._rendering = asyncio.Lock()

    async def audit(self, record: RequestRecord, axon: str, block: Block) -> AuditReport:
        """The verdict on one answered record, with the challenge that it rests on.

        Args:
            axon: where the miner serves, "ip:port", as the metagraph states it; "" when it states nothing.
            block: the record's challenge block.

        Raises:
            ConstantinopleError: the audit could not be carried out, through no fault of the miner.
        """
        seed = record_seed(record, block)
        measured = _Measured()
        try:
            await self._examine(record, axon, seed, measured)
            finding = Finding("pass", "all", _praise(measured), log_e_value(measured.evidence))
        except _Decided as decided:
            finding = decided.finding
        verdict = self._verdict(record, block, seed, finding, measured)
        return AuditReport(verdict, _exchange(record, seed, measured))

    async def _examine(self, record: RequestRecord, axon: str, seed: str, measured: _Measured) -> None:
        receipt = _held(read_receipt(record))
        _held(check_statement(receipt, record, self._model, self._calibration))
        _held(check_lengths(receipt, record))
        token_ids = await self._token_ids(record, receipt)
        text = await asyncio.to_thread(self._checks.check_text, record)
        _held(text.finding)
        _held(await asyncio.to_thread(self._checks.check_end, record))
        measured.text_unchecked = text.unchecked
        answers = await self._challenge(record, receipt, axon, seed, token_ids, measured)
        await self._compare(record, answers, token_ids, measured)

    async def _token_ids(self, record: RequestRecord, receipt: Receipt) -> TokenIds:
        """Prompt and output ids by choice: the prompt as rendered here, the output as recorded."""
        try:
            async with self._rendering:
                prompts = await asyncio.to_thread(self._checks.prompts, record)
        except NotReproducible as error:
            raise _Decided(inconclusive("request", str(error))) from None
        _held(check_prompts(receipt, record, prompts))
        vocabulary_size = (await self._reference.load()).vocabulary_size
        _held(check_vocabulary(record, vocabulary_size))
        outputs = {choice.index: choice.output_token_ids for choice in record.choices}
        return {index: [*prompt, *outputs[index]] for index, prompt in enumerate(prompts)}

    async def _challenge(
        self,
        record: RequestRecord,
        receipt: Receipt,
        axon: str,
        seed: str,
        token_ids: TokenIds,
        measured: _Measured,
    ) -> _Answers:
        points = draw_points(seed, receipt, self._noise.points)
        replay_point = draw_replay_point(seed, receipt)
        measured.asked = points, replay_point
        opened = measured.opened = await self._open(record, axon, points)
        openings = _held(check_openings(receipt, points, opened, token_ids))
        replayed = measured.replayed = await self._replay(record, axon, replay_point, token_ids)
        vector = _held(read_replay(replay_point, replayed, self._calibration.header.hidden_size))
        return _Answers(openings, replay_point, vector)

    async def _open(self, record: RequestRecord, axon: str, points: Sequence[Point]) -> OpenAnswer:
        asked = tuple(OpenPoint(choice=p.choice, position=p.position, layer=p.layer) for p in points)
        challenge = OpenRequest(request_id=record.request_id, points=asked)
        return await self._answered(await self._client.open(challenge, axon, record.miner_hotkey))

    async def _replay(
        self, record: RequestRecord, axon: str, point: Point, token_ids: TokenIds
    ) -> ReplayAnswer:
        needed = tuple(token_ids[point.choice][: point.position + 1])
        asked = ReplayPoint(position=point.position, layer=point.layer)
        challenge = ReplayRequest(token_ids=needed, points=(asked,))
        return await self._answered(await self._client.replay(challenge, axon, record.miner_hotkey))

    async def _answered(self, outcome: T | Unreachable | Refused | Malformed) -> T:
        """The answer, or the finding that there is none."""
        if isinstance(outcome, Malformed):
            raise _Decided(failed("answer", f"the answer to the challenge is not valid: {outcome.reason}"))
        if isinstance(outcome, Refused):
            await self._confirm_blame()
            words = f"the challenge was refused with HTTP {outcome.status}: {outcome.message}"
            raise _Decided(failed("answer", words))
        if isinstance(outcome, Unreachable):
            await self._confirm_blame()
            words = f"the challenge was not answered, after retries: {outcome.reason}"
            raise _Decided(failed("answer", words, UNANSWERED_LOG_E))
        return outcome

    async def _compare(
        self, record: RequestRecord, answers: _Answers, token_ids: TokenIds, measured: _Measured
    ) -> None:
        points = [opening.point for opening in answers.openings]
        tokens = self._checks.token_audit(record, token_ids)
        reference = await self._reference.examine(
            token_ids, [*points, answers.replay_point], tokens.logits_requests()
        )
        calibration, noise = self._calibration, self._noise
        sketches = _held(score_sketches(answers.openings, reference, calibration, noise))
        place, vector = answers.replay_point, answers.replay_vector
        replay = replay_score(vector, reference[place], place, calibration, noise)
        measured.points = sketches.points
        measured.tokens = tokens.check()
        measured.evidence = (
            weigh(noise, "typical", sketches.typical),
            weigh(noise, "mean", sketches.mean),
            weigh(noise, "replay", replay),
            *tokens.evidence(noise),
        )
        _held(check_evidence(measured.evidence, tokens.explanation(noise)))
        for opening in answers.openings:
            if opening.point == place:
                _held(check_replay_against_opening(vector, opening, calibration, noise))

    def _verdict(
        self, record: RequestRecord, block: Block, seed: str, finding: Finding, measured: _Measured
    ) -> Verdict:
        evidence = finding.evidence or measured.evidence
        return Verdict(
            request_id=record.request_id,
            miner_uid=record.miner_uid,
            miner_hotkey=record.miner_hotkey,
            outcome=finding.outcome,
            check=finding.check,
            reason=finding.reason[:MAX_REASON_CHARACTERS],
            evidence=evidence,
            log_e=finding.log_e,
            ratios=family_ratios(evidence, measured.tokens, self._noise.margins),
            points=measured.points,
            tokens=measured.tokens,
            challenge_block=block.number,
            challenge_block_hash=block.hash,
            challenge_seed=seed,
            audited_at_ms=self._clock(),
        )


def _exchange(record: RequestRecord, seed: str, measured: _Measured) -> ChallengeExchange | None:
    """What was asked and answered."""
    if measured.asked is None:
        return None
    points, replay = measured.asked
    about = {"request_id": record.request_id, "miner_hotkey": record.miner_hotkey}
    challenge = IssuedChallenge(
        **about,
        challenge_seed=seed,
        points=tuple(OpenPoint(choice=p.choice, position=p.position, layer=p.layer) for p in points),
        replay=ReplayPlace(choice=replay.choice, position=replay.position, layer=replay.layer),
    )
    answers = ChallengeAnswers(**about, opened=measured.opened, replayed=measured.replayed)
    return ChallengeExchange(challenge=challenge, answers=answers)


def _praise(measured: _Measured) -> str:
    missing = {
        "tokens": measured.tokens.unchecked if measured.tokens else "",
        "text": measured.text_unchecked,
    }
    words = [f"{name} not checked: {reason}" for name, reason in missing.items() if reason]
    return "; ".join(["every check held" if not words else "every check that could be made held", *words])
