"""Answers of the demo model with all that an audit asks for, kept in a file; and audits of them from there.

python -m bench.reaudit_answers ANSWERS VERDICTS THREADS AT_ONCE DTYPE
"""

import asyncio
import json
import sys
from collections.abc import Callable, Sequence
from functools import lru_cache
from pathlib import Path

import torch
from torch import Tensor

from localnet.config import PROJECT_ROOT
from localnet.demo_model import DEMO_MODEL
from shared.calibration import Calibration, read_calibration
from shared.challenges import OpenPoint, OpenRequest, ReplayPoint, ReplayRequest
from shared.records import RequestRecord
from shared.reference_model import ReferenceModel
from tests.models import TINY_MODEL, demo_model
from tests.validator.example_audit import BLOCK, no_doubt
from tests.validator.example_miner import DistortedMiner, ExampleMiner, receipt_of, tokens_of
from tests.validator.example_model import chat_body
from validator.answer_checks import AnswerChecks
from validator.audit import Auditor
from validator.challenge_selection import draw_points, draw_replay_point, record_seed
from validator.published_miner import PublishedMiner
from validator.published_rows import ChallengeAnswers
from validator.reference_worker import ReferenceWorker

SHIPPED = PROJECT_ROOT / "localnet" / "calibration" / f"{DEMO_MODEL}.calibration"
CHEAT_SHARE = 4
"""One answer of so many comes with noisy hidden states."""


@lru_cache(maxsize=1)
def calibration() -> Calibration:
    """The file that ships for the demo model."""
    return read_calibration(SHIPPED)


def _noisy(hidden: Tensor, layer: int) -> Tensor:
    noise = torch.randn(hidden.shape, generator=torch.Generator().manual_seed(layer))
    return hidden + 0.01 * hidden.std() * noise


def make_answers(file: Path, count: int, tokens: int, seed: int, say: Callable[[str], None]) -> None:
    """Write so many answers, and what their miners answer to the challenges drawn for them."""
    engine = ReferenceModel.load(str(demo_model()), dtype=torch.bfloat16)
    honest = ExampleMiner(calibration(), engine)
    cheat = DistortedMiner(_noisy, calibration())
    cheat.engine = engine
    found = []
    for number in range(count):
        miner = cheat if number % CHEAT_SHARE == CHEAT_SHARE - 1 else honest
        body = chat_body(seed * count + number, max_tokens=tokens, temperature=(0.0, 0.7, 1.0)[number % 3])
        record = miner.answer(body)
        found.append({"record": record.model_dump(mode="json"), "answers": _answers(miner, record)})
        say(f"{number + 1} of {count} answers")
    file.write_text(json.dumps(found))


def _answers(miner: ExampleMiner, record: RequestRecord) -> object:
    """What the miner answers to the challenge of its answer, as JSON."""
    receipt, seed, noise = receipt_of(record), record_seed(record, BLOCK), calibration().header.noise
    assert noise is not None
    points = draw_points(seed, receipt, noise.points)
    asked = tuple(OpenPoint(choice=p.choice, position=p.position, layer=p.layer) for p in points)
    place = draw_replay_point(seed, receipt)
    needed = tuple(tokens_of(record)[place.choice][: place.position + 1])
    replay = ReplayRequest(
        token_ids=needed, points=(ReplayPoint(position=place.position, layer=place.layer),)
    )
    return ChallengeAnswers(
        request_id=record.request_id,
        miner_hotkey=record.miner_hotkey,
        opened=miner.open(OpenRequest(request_id=record.request_id, points=asked)),
        replayed=miner.replay(replay),
    ).model_dump(mode="json")


async def _audit(answers: Sequence[dict[str, object]], dtype: torch.dtype, at_once: int) -> list[object]:
    worker = ReferenceWorker(lambda: ReferenceModel.load(str(demo_model()), dtype=dtype))
    checks = AnswerChecks.load(str(demo_model()))
    await worker.load()

    async def one(kept: dict[str, object]) -> object:
        record = RequestRecord.model_validate_json(json.dumps(kept["record"]))
        miner = PublishedMiner(ChallengeAnswers.model_validate_json(json.dumps(kept["answers"])))
        auditor = Auditor(miner, worker, checks, calibration(), TINY_MODEL, lambda: 0, no_doubt)
        return (await auditor.audit(record, "", BLOCK)).verdict.model_dump(mode="json")

    found: list[object] = []
    for first in range(0, len(answers), at_once):
        found += await asyncio.gather(*(one(kept) for kept in answers[first : first + at_once]))
    worker.close()
    return found


def main(argv: Sequence[str]) -> int:
    """Audit the answers of a file."""
    answers, verdicts, threads, at_once, dtype = argv
    torch.set_num_threads(int(threads))
    kept = json.loads(Path(answers).read_text())
    found = asyncio.run(_audit(kept, getattr(torch, dtype), int(at_once)))
    Path(verdicts).write_text(json.dumps(found))
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
