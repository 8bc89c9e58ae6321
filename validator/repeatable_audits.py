"""Published audits with all that they are repeated from: record, block and what the miner answered."""

import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from shared.chain import Block
from shared.records import ChoiceRecord, RequestRecord
from shared.request_facts import RequestFacts
from validator.published_rows import ChallengeAnswers, PublishedText
from validator.replay_epoch import LoadedEpoch
from validator.request_state import RequestKey
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
