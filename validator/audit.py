"""One audit of one answered request: from the record to a verdict."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

from torch import Tensor

from shared.calibration import Calibration, HonestNoise
from shared.chain import Block
from shared.challenges import OpenAnswer, OpenPoint, OpenRequest, ReplayAnswer, ReplayPoint, ReplayRequest
from shared.commitments import Opening, Point
from shared.errors import ModelError, NotReproducible
from shared.receipts import Receipt
from shared.records import RequestRecord
from validator.challenge_selection import DEFAULT_POINTS, draw_points, draw_replay_point, record_seed
from validator.clock import Clock
from validator.findings import Finding, failed, inconclusive
from validator.miner_client import Malformed, MinerClient, Refused, Unreachable
from validator.prompt_rendering import PromptRenderer
from validator.receipt_verification import (
    check_lengths,
    check_prompts,
    check_statement,
    check_vocabulary,
    read_receipt,
)
from validator.reference_worker import ReferenceWorker
from validator.verdicts import MAX_REASON_CHARACTERS, Verdict
from validator.verification import (
    SketchScore,
    check_openings,
    check_replay,
    check_replay_against_opening,
    check_sketches,
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
class _Evidence:
    """What an examination has measured so far."""

    sketches: SketchScore | None = None
    replay: float | None = None


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
        client: MinerClient,
        reference: ReferenceWorker,
        renderer: PromptRenderer,
        calibration: Calibration,
        model: str,
        clock: Clock,
        confirm_blame: ConfirmBlame,
        points: int = DEFAULT_POINTS,
    ) -> None:
        if calibration.header.noise is None:
            raise ModelError(
                f"the calibration of {calibration.header.model} holds statistics but no honest noise; "
                "complete it with: python -m validator.calibrate --stage noise"
            )
        self._noise: HonestNoise = calibration.header.noise
        self._client, self._reference, self._renderer = client, reference, renderer
        self._calibration, self._model = calibration, model
        self._clock, self._points = clock, points
        self._confirm_blame = confirm_blame
        self._rendering = asyncio.Lock()

    async def audit(self, record: RequestRecord, axon: str, block: Block) -> Verdict:
        """The verdict on one answered record.

        Args:
            axon: where the miner serves, "ip:port", as the metagraph states it; "" when it states nothing.
            block: the record's challenge block.

        Raises:
            ConstantinopleError: the audit could not be carried out, through no fault of the miner.
        """
        seed = record_seed(record, block)
        evidence = _Evidence()
        try:
            await self._examine(record, axon, seed, evidence)
            finding = Finding("pass", "all", "every check held")
        except _Decided as decided:
            finding = decided.finding
        return self._verdict(record, block, seed, finding, evidence)

    async def _examine(self, record: RequestRecord, axon: str, seed: str, evidence: _Evidence) -> None:
        receipt = _held(read_receipt(record))
        _held(check_statement(receipt, record, self._model, self._calibration))
        _held(check_lengths(receipt, record))
        token_ids = await self._token_ids(record, receipt)
        answers = await self._challenge(record, receipt, axon, seed, token_ids)
        await self._compare(answers, token_ids, evidence)

    async def _token_ids(self, record: RequestRecord, receipt: Receipt) -> TokenIds:
        """Prompt and output ids by choice: the prompt as rendered here, the output as recorded."""
        try:
            async with self._rendering:
                prompts = await asyncio.to_thread(self._renderer.prompts, record.path, record.request_body)
        except NotReproducible as error:
            raise _Decided(inconclusive("request", str(error))) from None
        _held(check_prompts(receipt, record, prompts))
        vocabulary_size = (await self._reference.load()).vocabulary_size
        _held(check_vocabulary(record, vocabulary_size))
        outputs = {choice.index: choice.output_token_ids for choice in record.choices}
        return {index: [*prompt, *outputs[index]] for index, prompt in enumerate(prompts)}

    async def _challenge(
        self, record: RequestRecord, receipt: Receipt, axon: str, seed: str, token_ids: TokenIds
    ) -> _Answers:
        points = draw_points(seed, receipt, self._points)
        replay_point = draw_replay_point(seed, receipt)
        opened = await self._open(record, axon, points)
        openings = _held(check_openings(receipt, points, opened, token_ids))
        replayed = await self._replay(record, axon, replay_point, token_ids)
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
            raise _Decided(failed("answer", words))
        return outcome

    async def _compare(self, answers: _Answers, token_ids: TokenIds, evidence: _Evidence) -> None:
        points = [opening.point for opening in answers.openings]
        reference = await self._reference.hidden_states(token_ids, [*points, answers.replay_point])
        calibration, noise = self._calibration, self._noise
        evidence.sketches = _held(score_sketches(answers.openings, reference, calibration, noise))
        place, vector = answers.replay_point, answers.replay_vector
        evidence.replay = replay_score(vector, reference[place], place, calibration, noise)
        _held(check_sketches(evidence.sketches, noise))
        _held(check_replay(evidence.replay, place, noise))
        for opening in answers.openings:
            if opening.point == place:
                _held(check_replay_against_opening(vector, opening, calibration, noise))

    def _verdict(
        self, record: RequestRecord, block: Block, seed: str, finding: Finding, evidence: _Evidence
    ) -> Verdict:
        sketches = evidence.sketches
        return Verdict(
            request_id=record.request_id,
            miner_uid=record.miner_uid,
            miner_hotkey=record.miner_hotkey,
            outcome=finding.outcome,
            check=finding.check,
            reason=finding.reason[:MAX_REASON_CHARACTERS],
            score=None if sketches is None else sketches.score,
            limit=None if sketches is None else self._noise.audit_limit,
            points=() if sketches is None else sketches.points,
            replay_score=evidence.replay,
            challenge_block=block.number,
            challenge_block_hash=block.hash,
            challenge_seed=seed,
            audited_at_ms=self._clock(),
        )
