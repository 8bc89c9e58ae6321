"""Strategies over many epochs, played against the rules that decide who is audited and who is rejected."""

import math
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import pytest

from tests.validator.auditor_examples import HONEST, block_number, example_record, example_verdict
from validator.challenge_schedule import AuditPlan, required
from validator.evidence import PROVEN_LOG_E, e_value
from validator.request_state import DrawnRequest
from validator.scoring_config import ScoringConfig
from validator.sequential_test import Standing, is_rejected, steps
from validator.verdicts import VerdictOutcome

CONFIG = ScoringConfig()
TRUSTED = Standing(log_evidence=0.0, support=0, audits=5000, passes_in_a_row=5000)
Ending = tuple[VerdictOutcome, float]
Audited = Callable[[random.Random], Ending]
"""How an audit of one answer would end; drawn anew for each answer."""


def honest(chance: random.Random) -> Ending:
    p_values = [1.0 - chance.random() for _ in range(4)]
    log_e = math.log(sum(e_value(p_value) for p_value in p_values) / 4)
    return ("fail" if min(p_values) < 1e-4 else "pass"), log_e


def slightly_wrong(chance: random.Random) -> Ending:
    """A cheat that hardly shows: each statistic is as large as one of ten honest ones, and often larger."""
    p_value = (1.0 - chance.random()) ** 4 * 0.1
    return ("fail" if p_value < 1e-4 else "pass"), math.log(e_value(p_value))


def proven(_: random.Random) -> Ending:
    return "fail", PROVEN_LOG_E


def on_a_share(share: float, cheat: Audited) -> Audited:
    return lambda chance: cheat(chance) if chance.random() < share else honest(chance)


@dataclass(frozen=True)
class Played:
    """One epoch of one miner: answers audited, and whether the epoch is paid."""

    audits: int
    paid: bool
    standing: Standing


def play(
    epochs: int, answers: int, audited: Audited, seed: int, standing: Standing = TRUSTED
) -> Iterator[Played]:
    chance = random.Random(seed)
    for _ in range(epochs):
        endings = {number: audited(chance) for number in range(answers)}
        draws = {number: chance.random() for number in range(answers)}
        made: set[int] = set()
        while lacking := _required(draws, endings, made, standing) - made:
            made.add(min(lacking, key=lambda number: draws[number]))
        published = sorted(_required(draws, endings, made, standing))
        verdicts = [
            example_verdict(example_record(number), block_number(1), *endings[number]) for number in published
        ]
        taken = steps(standing, verdicts, CONFIG)
        paid = not is_rejected(standing, CONFIG) and not any(one.rejected for one in taken)
        standing = taken[-1].after
        yield Played(len(made), paid, standing)


def _required(
    draws: dict[int, float], endings: dict[int, Ending], made: set[int], standing: Standing
) -> set[int]:
    drawn = [
        DrawnRequest((f"request-{n:06d}", HONEST.ss58_address), draw, *(endings[n] if n in made else ()))
        for n, draw in draws.items()
    ]
    plan = AuditPlan({HONEST.ss58_address: standing}, complete=True)
    return {int(one.key[0][-6:]) for one in required(drawn, plan, CONFIG)}


def test_honest_miners_are_paid_every_epoch_and_cost_little() -> None:
    played = [one for seed in range(2) for one in play(30, 60, honest, seed)]
    assert all(one.paid for one in played)
    assert sum(one.audits for one in played) / len(played) < 20


def test_an_honest_newcomer_is_trusted_after_a_few_epochs() -> None:
    newcomer = Standing(log_evidence=0.0, support=0, audits=0, passes_in_a_row=0)
    played = list(play(30, 60, honest, 3, newcomer))
    assert played[0].audits == 60
    assert played[-1].audits < 20
    assert all(one.paid for one in played)


@pytest.mark.parametrize("seed", range(5))
def test_who_earned_trust_and_then_cheats_on_every_answer_is_paid_for_none_of_it(seed: int) -> None:
    first, *_ = play(1, 50, proven, seed)
    assert first.audits == CONFIG.enough_fails
    assert not first.paid


@pytest.mark.parametrize("seed", range(5))
def test_cheating_on_a_tenth_of_the_answers_does_not_pay(seed: int) -> None:
    played = list(play(20, 40, on_a_share(0.1, proven), seed))
    assert sum(one.paid for one in played) < 10, "more than the tenth that it saves is lost"


@pytest.mark.parametrize("seed", range(5))
def test_a_slight_cheat_is_found_and_stays_found(seed: int) -> None:
    played = list(play(12, 60, slightly_wrong, seed))
    assert not any(one.paid for one in played[3:])


@pytest.mark.parametrize("seed", range(5))
def test_a_reformed_miner_is_paid_again_and_not_at_once(seed: int) -> None:
    caught = list(play(2, 60, proven, seed))[-1].standing
    assert caught.log_evidence == pytest.approx(CONFIG.evidence_cap * CONFIG.reject_log_evidence, abs=1e-5)
    reformed = [one.paid for one in play(6, 60, honest, seed, caught)]
    assert not reformed[0]
    assert all(reformed[2:])
