"""A published epoch of any size: real formats, receipts, trees and signatures, and no model behind them."""

import json
import random
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from tempfile import TemporaryDirectory

from bittensor.sp_core import Keypair

from bench.committing_miner import CommittingMiner
from shared.canonical import sha256_hex
from shared.chain import Block
from shared.dataset import day_of, manifest_key
from shared.inference_paths import CHAT_PATH
from shared.object_store import FolderStore
from shared.records import ChoiceRecord, RequestRecord
from tests.validator.auditor_examples import AUDITOR, GATEWAY, block_number, example_verdict
from validator.audit_coverage import coverage
from validator.challenge_selection import challenge_block, record_seed, selection_draw
from validator.epoch_summary import EpochSummary, results_of, seal
from validator.epoch_tables import EpochContents, WeightRow, epoch_files, records_root
from validator.manifest import manifest_bytes
from validator.measurement import ChallengeBlock, EpochInputs, RegisteredMiner
from validator.published_rows import ChallengeExchange, PublishedText
from validator.publishing import publish
from validator.request_facts import RequestFacts, facts_of, text_of
from validator.request_state import RequestKey
from validator.scoring_config import ScoringConfig
from validator.spool import Spool
from validator.verdicts import AuditedPoint, Verdict

EPOCH = 1
BLOCKS = 125
"""Of 12 s: a 25-minute epoch."""

VOCABULARY = 152_064
WORDS = 4_000
PROMPT_TOKENS, OUTPUT_TOKENS = 400, 250
"""Medians; lengths are lognormal, as those of public chat logs are (`validator/synthetic_prior.py`)."""

SPREAD = 0.9
MOST_TOKENS = 4_000
HIDDEN_SHARE = 0.05
"""Of requests with `store: false`, whose text is not published."""

Say = Callable[[str], None]


@dataclass(frozen=True)
class EpochSize:
    """How large an epoch is; `layers` as of a 7B model, whose Merkle trees are as deep."""

    requests: int
    miners: int
    seed: int
    layers: int = 28

    @property
    def openable_share(self) -> float:
        """Share of answers that may be audited: half more than the most audits of a miner."""
        return min(1.0, 1.5 * ScoringConfig().max_audits * self.miners / self.requests)


@lru_cache(maxsize=1)
def _words() -> list[str]:
    chance = random.Random(0)
    return ["".join(chance.choices("etaoinshrdlucmfw", k=chance.randint(2, 9))) for _ in range(WORDS)]


@lru_cache(maxsize=1)
def _token_ids() -> list[int]:
    """The same objects for all answers, so that they take 8 bytes each."""
    return list(range(VOCABULARY))


@lru_cache(maxsize=1)
def blocks() -> list[Block]:
    """The epoch's blocks."""
    return [block_number(number) for number in range(1, BLOCKS + 1)]


def block_after(answer: RequestRecord) -> Block:
    """The block that an answer's challenge is drawn from."""
    found = challenge_block(answer.finished_at_ms, blocks())
    assert found is not None, "answers end before the last block"
    return found


@lru_cache
def miner(size: EpochSize, number: int) -> CommittingMiner:
    """The miner of this number, from 0."""
    return CommittingMiner(Keypair.create_from_uri(f"//Miner{number}"), size.layers)


def record(size: EpochSize, number: int) -> RequestRecord:
    """Request `number` of the epoch, before its miner has signed anything: always the same one."""
    chance = random.Random(f"{size.seed}/{number}")
    place = chance.randrange(size.miners)
    prompt, output = (
        min(MOST_TOKENS, max(2, round(chance.lognormvariate(0, SPREAD) * median)))
        for median in (PROMPT_TOKENS, OUTPUT_TOKENS)
    )
    started_at_ms = block_number(1).timestamp_ms + round(chance.random() * (BLOCKS - 40) * 12_000)
    duration_ms = 100 + output * chance.uniform(8, 14)
    text = " ".join(chance.choices(_words(), k=round(prompt * 0.75)))
    asked = {"messages": [{"role": "user", "content": text}], "max_tokens": MOST_TOKENS, "seed": number}
    body = json.dumps(asked)
    choice = ChoiceRecord.model_construct(
        index=0,
        prompt_token_ids=tuple(chance.choices(_token_ids(), k=prompt)),
        output_token_ids=tuple(chance.choices(_token_ids(), k=output)),
        finish_reason="stop",
        text_sha256=sha256_hex(body.encode()),
        text_bytes=4 * output,
    )
    return RequestRecord.model_construct(
        request_id=f"chatcmpl-{chance.getrandbits(128):032x}",
        client=f"{chance.randrange(2_000):032x}",
        gateway_hotkey=GATEWAY.ss58_address,
        miner_uid=place + 1,
        miner_hotkey=miner(size, place).signer.ss58_address,
        path=CHAT_PATH,
        request_body=body,
        streamed=True,
        store=chance.random() >= HIDDEN_SHARE,
        outcome="answered",
        http_status=200,
        error=None,
        started_at_ms=started_at_ms,
        finished_at_ms=started_at_ms + round(duration_ms),
        ttft_ms=chance.uniform(50, 300),
        duration_ms=duration_ms,
        prompt_tokens=prompt,
        output_tokens=output,
        choices=(choice,),
        receipt=None,
    )


Published = tuple[int, RequestFacts, PublishedText | None]
"""A request by its number, and what is published of it."""


def _signed(size: EpochSize, number: int) -> RequestRecord:
    """The request with its miner's receipt.

    Only answers that may be audited commit to something. Signatures of sr25519 are random, so these are
    signed until their draw is a small one, and the others until theirs is not: together they are uniform.
    """
    made = record(size, number)
    block = block_after(made)
    openable = random.Random(f"{size.seed}/{number}/openable").random() < size.openable_share
    signer = miner(size, made.miner_uid - 1)
    statement = signer.statement(made, openable)
    while True:
        signed = signer.signed(made, statement)
        if (selection_draw(record_seed(signed, block)) < size.openable_share) == openable:
            return signed


def _published(size: EpochSize, numbers: Sequence[int]) -> list[Published]:
    """What is published of some requests; the costly part, to be run in a process of its own."""
    found = []
    for number in numbers:
        signed = _signed(size, number)
        found.append((number, facts_of(signed, None, EPOCH), text_of(signed)))
    return found


def _all_published(size: EpochSize, say: Say) -> Iterator[Published]:
    step = 500
    parts = [range(first, min(first + step, size.requests)) for first in range(0, size.requests, step)]
    done = 0
    with ProcessPoolExecutor() as pool:
        for part in pool.map(_published, [size] * len(parts), parts):
            yield from part
            done += len(part)
            say(f"{done} of {size.requests} requests are answered and committed to")


class EpochMaker:
    """Makes one epoch and publishes it into a folder."""

    def __init__(self, size: EpochSize, say: Say) -> None:
        self._size, self._say = size, say
        self._numbers: dict[RequestKey, int] = {}

    def publish(self, store: FolderStore) -> None:
        """Make the epoch and publish it. Takes about 2 ms of two cores for a request."""
        facts: list[RequestFacts] = []
        texts: list[PublishedText] = []
        for number, one, text in _all_published(self._size, self._say):
            self._numbers[one.key] = number
            facts.append(one)
            texts += [text] if text else []
        facts.sort(key=lambda one: one.key)
        inputs, exchanges = self._audited(facts)
        self._say(f"{len(exchanges)} answers are audited; writing the files")
        self._seal(store, inputs, exchanges, texts)

    def _audited(self, facts: list[RequestFacts]) -> tuple[EpochInputs, list[ChallengeExchange]]:
        """Audits as the rule asks for them: a failed one can make others due."""
        inputs = EpochInputs(
            epoch=EPOCH,
            requests=facts,
            verdicts=[],
            miners=[
                RegisteredMiner(uid=one + 1, hotkey=miner(self._size, one).signer.ss58_address)
                for one in range(self._size.miners)
            ],
            history=(),
            blocks=[
                ChallengeBlock(number=one.number, hash=one.hash, timestamp_ms=one.timestamp_ms)
                for one in blocks()
            ],
        )
        by_key, exchanges = {one.key: one for one in facts}, list[ChallengeExchange]()
        while missing := coverage(inputs, ScoringConfig()).missing:
            audits = [self._audit(by_key[key]) for key in missing]
            exchanges += [exchange for _, exchange in audits]
            inputs = replace(inputs, verdicts=[*inputs.verdicts, *(verdict for verdict, _ in audits)])
        return inputs, exchanges

    def _audit(self, facts: RequestFacts) -> tuple[Verdict, ChallengeExchange]:
        assert facts.receipt is not None
        receipt = facts.receipt.model_dump(mode="json")
        made = record(self._size, self._numbers[facts.key]).model_copy(update={"receipt": receipt})
        block = block_after(made)
        exchange = miner(self._size, made.miner_uid - 1).exchange(made, record_seed(made, block))
        points = tuple(
            AuditedPoint(choice=one.choice, position=one.position, layer=one.layer, distance=1e-4)
            for one in exchange.challenge.points
        )
        return example_verdict(made, block).model_copy(update={"points": points}), exchange

    def _seal(
        self,
        store: FolderStore,
        inputs: EpochInputs,
        exchanges: list[ChallengeExchange],
        texts: list[PublishedText],
    ) -> None:
        scoring = ScoringConfig()
        results, closed_at_ms = results_of(inputs, scoring), blocks()[-1].timestamp_ms
        hotkeys = {one.uid: one.hotkey for one in inputs.miners}
        weights = [WeightRow(**dict(one), hotkey=hotkeys[one.uid]) for one in results.weights]
        contents = EpochContents(
            inputs.requests, texts, exchanges, inputs.verdicts, (), results.scores, weights
        )
        day, root = day_of(closed_at_ms), records_root(inputs.requests)
        files = epoch_files(contents, day, EPOCH)
        digests = tuple(file.digest for file in files)
        manifest = manifest_bytes(EPOCH, day, digests, len(inputs.requests), root, "bench")
        summary = EpochSummary(
            netuid=97,
            model="tiny",
            calibration_sha256=sha256_hex(b"calibration"),
            epoch=EPOCH,
            publisher=AUDITOR.ss58_address,
            opened_at_ms=blocks()[0].timestamp_ms,
            closed_at_ms=closed_at_ms,
            block=blocks()[-1].number,
            block_hash=blocks()[-1].hash,
            previous_digest=None,
            files=digests,
            manifest_sha256=sha256_hex(manifest),
            records=len(inputs.requests),
            records_root=root,
            miners=tuple(inputs.miners),
            challenge_blocks=tuple(inputs.blocks),
            audits_outstanding=0,
            history=(),
            refusals=(),
            scoring=scoring,
            round_secret=None,
            round_commitment=None,
            **dict(results),
        )
        with TemporaryDirectory() as folder:
            spool = Spool(Path(folder))
            named = {file.digest.key: file.data for file in files}
            spool.write(EPOCH, named | {manifest_key(EPOCH): manifest})
            spool.seal(EPOCH, seal(summary, AUDITOR))
            publish(store, EPOCH, spool.files(EPOCH))
