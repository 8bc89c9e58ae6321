"""Answers of a synthetic epoch: which they are follows from a seed, and many miners sign them."""

import json
import random
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import lru_cache

from bittensor.sp_core import Keypair

from bench.committing_miner import CommittingMiner
from shared.canonical import sha256_hex
from shared.chain import Block
from shared.inference_paths import CHAT_PATH
from shared.records import ChoiceRecord, RequestRecord
from tests.validator.auditor_examples import GATEWAY, block_number
from validator.challenge_selection import challenge_block, record_seed, selection_draw
from validator.published_rows import PublishedText
from validator.request_facts import RequestFacts, facts_of, text_of
from validator.scoring_config import ScoringConfig

EPOCH = 1
BLOCKS = 125
"""Of 12 s: a 25-minute epoch."""

VOCABULARY = 152_064
WORDS = 4_000
PROMPT_TOKENS, OUTPUT_TOKENS = 400, 250
"""Medians of log-normal lengths: more than the 69.5 and 214.5 tokens that LMSYS-Chat-1M has on average (Zheng
et al. 2024, table 1), so that real epochs are rather smaller."""

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


def all_published(size: EpochSize, say: Say) -> Iterator[Published]:
    step = 500
    parts = [range(first, min(first + step, size.requests)) for first in range(0, size.requests, step)]
    done = 0
    with ProcessPoolExecutor() as pool:
        for part in pool.map(_published, [size] * len(parts), parts):
            yield from part
            done += len(part)
            say(f"{done} of {size.requests} requests are answered and committed to")
