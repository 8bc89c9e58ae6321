"""Rounds that were not drawn, or hold other requests: auditors leave them out, followers refuse them."""

from collections.abc import Callable, Sequence
from typing import Any

import pytest

from shared.canonical import sha256_hex
from tests.validator.auditor_examples import ALSO_HONEST, BLOCK_MS, CHEAT, HONEST, START_MS, example_record
from tests.validator.round_examples import CONFIG, SECRET, block_hash, drawn_blocks
from validator.epoch_evidence import EpochRefused
from validator.measurement import ChallengeBlock, EpochInputs, RegisteredMiner
from validator.probe_rounds import (
    MAX_ROUND_LAG_MS,
    ProbeRound,
    RoundDraw,
    RoundRequests,
    members,
    round_after,
    secret_commitment,
)
from validator.request_facts import RequestFacts, facts_of
from validator.round_check import CLOCK_SLACK_MS, check_rounds, evidence_of, sound_rounds
from validator.round_history import RoundHistory, RoundInputs

MINERS = {one.ss58_address: (one, uid) for uid, one in enumerate((HONEST, ALSO_HONEST, CHEAT), start=1)}
COMMITTED = RoundHistory(commitments=(secret_commitment(SECRET), None))


def held_rounds(count: int = 6) -> tuple[list[ProbeRound], list[RequestFacts]]:
    """Sound rounds and their requests."""
    rounds, requests = list[ProbeRound](), list[RequestFacts]()
    for number in drawn_blocks(count):
        drawn = round_after(SECRET, block_hash(number), CONFIG)
        assert drawn is not None
        at_ms = START_MS + number * BLOCK_MS
        asked: list[RoundRequests] = []
        for hotkey in members(SECRET, block_hash(number), drawn.full, MINERS):
            records = [
                example_record(
                    len(requests) + n, *MINERS[hotkey], finished_at_ms=at_ms + drawn.delay_ms + 1000
                )
                for n in range(drawn.requests_each)
            ]
            requests += [facts_of(one) for one in records]
            names = tuple(one.request_id for one in records)
            asked.append(RoundRequests(hotkey=hotkey, request_ids=names))
        rounds.append(
            ProbeRound(
                block=number,
                block_hash=block_hash(number),
                block_at_ms=at_ms,
                full=drawn.full,
                requests_each=drawn.requests_each,
                miners=tuple(sorted(MINERS)),
                asked=tuple(asked),
            )
        )
    return rounds, requests


ROUNDS, REQUESTS = held_rounds()
BLOCKS = [
    ChallengeBlock(number=one.block, hash=one.block_hash, timestamp_ms=one.block_at_ms) for one in ROUNDS
]
EVIDENCE = evidence_of(REQUESTS, BLOCKS)
FULL = next(place for place, one in enumerate(ROUNDS) if len(one.asked) == 2)
"""A round with two members of the three."""


def inputs(
    rounds: Sequence[ProbeRound] = ROUNDS,
    secret: str | None = SECRET,
    history: RoundHistory = COMMITTED,
    requests: Sequence[RequestFacts] = REQUESTS,
) -> EpochInputs:
    miners = [RegisteredMiner(uid=uid, hotkey=hotkey) for hotkey, (_, uid) in MINERS.items()]
    held = RoundInputs(secret, None, rounds, history)
    return EpochInputs(3, requests, (), miners, (), BLOCKS, rounds=held)


def test_rounds_as_they_were_drawn_pass() -> None:
    check_rounds(inputs(), CONFIG)
    assert sound_rounds(ROUNDS[::-1], SECRET, EVIDENCE, CONFIG) == ROUNDS


def test_an_epoch_without_rounds_needs_no_secret() -> None:
    check_rounds(inputs((), None, RoundHistory()), CONFIG)


@pytest.mark.parametrize("secret", [None, sha256_hex(b"chosen later")])
def test_rounds_need_the_secret_that_was_committed_to(secret: str | None) -> None:
    with pytest.raises(EpochRefused, match="committed to"):
        check_rounds(inputs(secret=secret), CONFIG)


def test_rounds_without_a_commitment_are_refused() -> None:
    with pytest.raises(EpochRefused, match="committed to"):
        check_rounds(inputs(history=RoundHistory()), CONFIG)
    with pytest.raises(EpochRefused, match="committed to"):
        check_rounds(inputs(history=RoundHistory(commitments=(None, secret_commitment(SECRET)))), CONFIG)


def replaced(**changes: Any) -> ProbeRound:
    return ROUNDS[FULL].model_copy(update=changes)


def undrawn() -> ProbeRound:
    number = next(n for n in range(100) if round_after(SECRET, block_hash(n), CONFIG) is None)
    return replaced(block=number, block_hash=block_hash(number))


def another_member() -> ProbeRound:
    first, second = ROUNDS[FULL].asked
    other = next(hotkey for hotkey in MINERS if hotkey not in (first.hotkey, second.hotkey))
    return replaced(asked=(RoundRequests(hotkey=other, request_ids=first.request_ids), second))


def swapped() -> ProbeRound:
    first, second = ROUNDS[FULL].asked
    return replaced(
        asked=(
            first.model_copy(update={"request_ids": second.request_ids}),
            second.model_copy(update={"request_ids": first.request_ids}),
        )
    )


def too_many() -> ProbeRound:
    first, second = ROUNDS[FULL].asked
    more = (*first.request_ids, "request-9999")
    return replaced(asked=(first.model_copy(update={"request_ids": more}), second))


def of_another_block() -> ProbeRound:
    """Drawn by the rule, from a block that this chain does not have."""
    number = ROUNDS[FULL].block
    forged = next(
        block_hash(number, seed)
        for seed in range(1, 100)
        if round_after(SECRET, block_hash(number, seed), CONFIG)
    )
    drawn = round_after(SECRET, forged, CONFIG)
    assert drawn is not None
    asked = members(SECRET, forged, drawn.full, MINERS)
    return replaced(
        block_hash=forged,
        full=drawn.full,
        requests_each=drawn.requests_each,
        asked=tuple(RoundRequests(hotkey=one, request_ids=()) for one in asked),
    )


TAMPERED: dict[str, Callable[[], ProbeRound]] = {
    "a block that no round follows": undrawn,
    "more requests at once": lambda: replaced(requests_each=7 if ROUNDS[FULL].requests_each == 1 else 1),
    "another kind": lambda: replaced(full=not ROUNDS[FULL].full),
    "a member left out": lambda: replaced(asked=ROUNDS[FULL].asked[:1]),
    "a member added": lambda: replaced(asked=(*ROUNDS[FULL].asked, ROUNDS[FULL].asked[0])),
    "another member": another_member,
    "a member that is no miner": lambda: replaced(
        miners=tuple(one for one in ROUNDS[FULL].miners if one != ROUNDS[FULL].asked[0].hotkey)
    ),
    "miners out of order": lambda: replaced(miners=ROUNDS[FULL].miners[::-1]),
    "a block that the chain does not have": of_another_block,
    "requests of one another": swapped,
    "a request too many": too_many,
    "requests of an earlier time": lambda: replaced(block_at_ms=START_MS + 10**9),
    "requests of a later time": lambda: replaced(block_at_ms=START_MS - MAX_ROUND_LAG_MS - BLOCK_MS - 1),
}


@pytest.mark.parametrize("tamper", TAMPERED.values(), ids=TAMPERED)
def test_a_round_that_was_tampered_with_is_refused_and_left_out(tamper: Callable[[], ProbeRound]) -> None:
    bad = tamper()
    rounds = [*ROUNDS[:FULL], bad, *ROUNDS[FULL + 1 :]]
    with pytest.raises(EpochRefused) as refused:
        check_rounds(inputs(rounds), CONFIG)
    assert refused.value.cause == "evidence"
    assert sound_rounds([bad], SECRET, EVIDENCE, CONFIG) == []


def test_a_block_with_two_rounds_and_a_request_of_two_rounds_are_refused() -> None:
    with pytest.raises(EpochRefused, match="two rounds within 12 s"):
        check_rounds(inputs([*ROUNDS, ROUNDS[0]]), CONFIG)
    shared_id = next(name for one in ROUNDS for member in one.asked for name in member.request_ids)
    doubled = [
        one.model_copy(
            update={"asked": tuple(m.model_copy(update={"request_ids": (shared_id,)}) for m in one.asked)}
        )
        for one in ROUNDS
    ]
    with pytest.raises(EpochRefused, match="of two rounds"):
        check_rounds(inputs(doubled), CONFIG)


def test_of_two_rounds_on_a_fast_chain_within_12_s_the_first_is_kept() -> None:
    later = next(n for n in range(500, 900) if round_after(SECRET, block_hash(n), CONFIG))
    drawn = round_after(SECRET, block_hash(later), CONFIG)
    assert drawn is not None
    second = ProbeRound(
        block=later,
        block_hash=block_hash(later),
        block_at_ms=ROUNDS[0].block_at_ms + 1000,
        full=drawn.full,
        requests_each=drawn.requests_each,
        miners=(),
        asked=(),
    )
    assert sound_rounds([second, ROUNDS[0]], SECRET, EVIDENCE, CONFIG) == ROUNDS[:1]
    assert sound_rounds([second], SECRET, EVIDENCE, CONFIG) == [second]
    with pytest.raises(EpochRefused, match="two rounds within 12 s"):
        check_rounds(inputs([ROUNDS[0], second]), CONFIG)


def test_a_request_that_no_record_tells_of_is_no_fault() -> None:
    check_rounds(inputs(requests=REQUESTS[5:]), CONFIG)


def everybody(spans_ms: Sequence[tuple[int, int]]) -> tuple[ProbeRound, list[RequestFacts]]:
    """A full round in which each is asked at these times after its block, from and until."""
    number = next(one for one in drawn_blocks(40) if (found := drawn(one)) and found.full)
    at_ms = START_MS + number * BLOCK_MS
    requests, asked = list[RequestFacts](), list[RoundRequests]()
    for hotkey in sorted(MINERS):
        records = [
            example_record(
                5000 + len(requests) + n,
                *MINERS[hotkey],
                duration_ms=float(until - since),
                finished_at_ms=at_ms + until,
            )
            for n, (since, until) in enumerate(spans_ms)
        ]
        requests += [facts_of(one) for one in records]
        names = tuple(one.request_id for one in records)
        asked.append(RoundRequests(hotkey=hotkey, request_ids=names))
    held = ProbeRound(
        block=number,
        block_hash=block_hash(number),
        block_at_ms=at_ms,
        full=True,
        requests_each=1,
        miners=tuple(sorted(MINERS)),
        asked=tuple(asked),
    )
    return held, requests


def drawn(number: int) -> RoundDraw | None:
    return round_after(SECRET, block_hash(number), CONFIG)


AFTER_ANOTHER = [(place * 2000, place * 2000 + 1990) for place in range(18)]


def test_everybody_may_be_asked_again_and_again() -> None:
    held, requests = everybody(AFTER_ANOTHER)
    check_rounds(inputs([held], requests=requests), CONFIG)


@pytest.mark.parametrize("early_ms", [CLOCK_SLACK_MS, CLOCK_SLACK_MS + 20])
def test_nobody_may_be_asked_before_it_has_answered(early_ms: int) -> None:
    """Two answers at a time would be counted as twice the work in the time of one."""
    held, requests = everybody([*AFTER_ANOTHER, (AFTER_ANOTHER[-1][1] - early_ms, 40_000)])
    if early_ms <= CLOCK_SLACK_MS:
        check_rounds(inputs([held], requests=requests), CONFIG)
        return
    with pytest.raises(EpochRefused, match="asked before it had answered"):
        check_rounds(inputs([held], requests=requests), CONFIG)


def test_a_full_round_has_no_requests_after_its_time() -> None:
    late_ms = MAX_ROUND_LAG_MS + CONFIG.full_round_ms + 1
    held, requests = everybody([*AFTER_ANOTHER, (late_ms, late_ms + 1000)])
    with pytest.raises(EpochRefused, match="made at another time"):
        check_rounds(inputs([held], requests=requests), CONFIG)
