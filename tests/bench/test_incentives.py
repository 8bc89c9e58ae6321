"""The benchmark tells strategies that pay from those that don't, and repeats itself to the bit."""

import json
import random
from dataclasses import replace
from functools import cache
from pathlib import Path

import pytest

from bench.incentives.audits import STAND_IN_NOISE, Audits
from bench.incentives.cheats import INT4
from bench.incentives.config import IncentivesConfig
from bench.incentives.measuring import (
    Measuring,
    SpeedIncome,
    false_links,
    false_slowness,
    luck,
    slope,
    speed_incomes,
)
from bench.incentives.miners import Player, hotkey_address
from bench.incentives.playing import earned_by
from bench.incentives.population import SUBJECT
from bench.incentives.run import run, wanted
from bench.incentives.simulation import World, draw_world, play
from bench.incentives.strategies import (
    HARMS,
    HONEST_STRATEGY,
    STRATEGIES,
    Strategy,
    cheating,
    on_organic,
    on_share,
)
from bench.incentives.tables import (
    earned_json,
    error_words,
    link_words,
    luck_words,
    slowness_words,
    speed_words,
    strategy_cells,
)
from bench.incentives.traffic import arrivals
from shared.errors import ConfigError
from validator.scoring_config import ScoringConfig

AUDITS = Audits(STAND_IN_NOISE)
NO_GATE = ScoringConfig(reject_log_evidence=1e9, supporting_audits=10**6, enough_fails=10**6)
"""Scoring in which neither the sequential test nor a run of failed audits takes a miner's income."""


def world(config: ScoringConfig | None = None, epochs: int = 6, requests: int = 120, seed: int = 1) -> World:
    return draw_world(epochs, requests, AUDITS, seed, config or ScoringConfig())


def named(name: str) -> Strategy:
    return next(one for one in (*STRATEGIES, *HARMS) if one.name == name)


def income(name: str, played_in: World, registration_epochs: float = 0.0) -> float:
    return Measuring(played_in, registration_epochs).earned(named(name)).income


@cache
def five_epochs() -> Measuring:
    """Plays honest work once for all strategies."""
    return Measuring(world(epochs=5, requests=240), 0.0)


def test_honest_work_earns_one_by_construction() -> None:
    found = Measuring(world(), 0.0).earned(HONEST_STRATEGY)
    assert (found.income, found.best_epoch, found.played.unpaid) == (1.0, 1.0, 0)
    assert not found.pays


def test_shares_of_all_miners_add_up_to_one_in_every_epoch() -> None:
    played = play(world(), HONEST_STRATEGY)
    assert [sum(epoch) for epoch in zip(*played.incomes, strict=True)] == pytest.approx([1.0] * 6)


def test_without_the_gate_a_fast_cheat_pays_and_with_it_it_does_not() -> None:
    cheat = Strategy("control", 21, "", on_share(0.6, cheating(INT4)))
    without = Measuring(world(NO_GATE), 0.0).earned(cheat)
    gated = Measuring(world(), 0.0).earned(cheat)
    assert without.income > 1.2
    assert gated.income < 0.1


@pytest.mark.parametrize("name", ["int4", "fp8", "int8", "prefill-attack", "silent", "new-when-caught"])
def test_cheats_on_every_answer_earn_nothing(name: str) -> None:
    assert income(name, world()) < 0.1


@pytest.mark.parametrize("name", ["probes-chance", "probes-all", "silent-tenth", "404-tenth", "on-off"])
def test_cheats_on_some_answers_earn_less_than_honest_work(name: str) -> None:
    assert income(name, world(epochs=12, requests=200)) < 0.9


def test_what_a_miner_reports_of_itself_changes_nothing() -> None:
    assert income("reports-tenfold", world()) == 1.0


def test_connections_that_are_reset_cost_income() -> None:
    assert income("resets-tenth", world()) < 0.97


def test_registrations_are_paid_from_income() -> None:
    free, paid = income("new-every-third", world()), income("new-every-third", world(), 0.5)
    assert paid < free


def test_two_uids_of_a_busy_machine_earn_no_more_than_one() -> None:
    assert income("two-uids-busy", world(epochs=8, requests=240)) < 1.05


@pytest.mark.parametrize(
    "name",
    [
        "two-uids-half", "two-uids-idle", "two-uids-queue", "two-uids-turns", "two-uids-shortest",
        "two-uids-drop", "two-uids-alternate", "two-uids-newest", "sixteen-uids-queue", "sixteen-uids-choosy",
        "sixteen-uids-new",
    ],
)  # fmt: skip
def test_more_uids_of_a_machine_earn_no_more_than_one_from_their_first_epoch_on(name: str) -> None:
    found = five_epochs().earned(named(name))
    assert found.income < 1.05
    assert found.best_epoch < 1.35


@pytest.mark.parametrize("name", ["floods-5-keys-5", "floods-30-keys-20", "floods-60-keys-100"])
def test_a_flood_under_any_number_of_keys_earns_nothing(name: str) -> None:
    assert five_epochs().earned(named(name)).income < 1.02


def test_who_is_fast_in_rounds_alone_is_paid_for_what_clients_get() -> None:
    assert five_epochs().earned(named("fast-in-rounds")).income < 0.8


@pytest.mark.parametrize(
    "name",
    [
        "refuses-weakness", "refuses-weakness-in-rounds", "refuses-weakness-outside", "resets-weakness",
        "resets-weakness-in-rounds", "truncates-weakness", "truncates-slow-end", "resets-for-excuses",
    ],
)  # fmt: skip
def test_not_serving_what_its_machine_is_bad_at_earns_no_miner_more(name: str) -> None:
    assert five_epochs().earned(named(name)).income < 1.0


@pytest.mark.parametrize("name", ["refuses-hardest", "resets-hardest"])
def test_even_what_takes_its_machine_the_rest_of_a_round_is_not_worth_refusing(name: str) -> None:
    assert five_epochs().earned(named(name)).income < 1.02


def test_two_uids_of_an_idle_machine_are_told_with_their_evidence() -> None:
    found = Measuring(world(epochs=12, requests=240), 0.0).earned(named("two-uids-idle"))
    assert found.played.shared[-1] == {hotkey_address(f"0/{number}/0") for number in range(2)}


@pytest.mark.parametrize("config", [ScoringConfig(round_share=0.0), ScoringConfig(full_round_share=0.0)])
def test_without_full_rounds_two_uids_of_an_idle_machine_would_earn_far_more(config: ScoringConfig) -> None:
    found = Measuring(world(config, epochs=4, requests=240), 0.0).earned(named("two-uids-idle"))
    assert found.income > 1.4
    assert false_links([found.played]) == 0


def test_without_full_rounds_a_flood_under_many_keys_would_earn_more() -> None:
    config = ScoringConfig(full_round_share=0.0)
    assert income("floods-60-keys-100", world(config, epochs=4, requests=240)) > 1.2


def test_rounds_take_no_honest_miners_for_one_machine() -> None:
    played = play(world(epochs=12, requests=240), HONEST_STRATEGY)
    assert false_links([played]) == 0
    assert "in 0 of 12 epochs" in link_words(len(played.shared), false_links([played]))
    assert false_slowness([played]) <= 2
    assert "in 3 of their 12 epochs" in slowness_words(12, 3)


def test_an_honest_newcomer_earns_from_its_first_epoch_on() -> None:
    renewed = Strategy("control", 0, "", reregister=lambda situation: situation.epochs >= 1)
    found = five_epochs().earned(renewed)
    assert found.income > 0.97


def test_the_number_of_processes_changes_no_figure() -> None:
    played_in, names = world(epochs=2, requests=60), ["two-uids-queue", "faults-5"]
    one, two = (
        [earned_json(found) for found in earned_by(names, played_in, IncentivesConfig(jobs=jobs))]
        for jobs in (1, 2)
    )
    assert one == two


def test_an_outage_costs_an_honest_miner_epochs_not_its_living() -> None:
    played = play(world(epochs=26, requests=120), named("outage"))
    own = played.incomes[0]
    assert own[20] == 0.0
    assert own[19] > 0
    assert own[25] > 0


def test_the_same_seed_gives_the_same_incomes_and_another_seed_others() -> None:
    first, again, other = (
        play(world(seed=seed), named("int8-tenth")).incomes for seed in (1, 1, 2)
    )  # fmt: skip
    assert first == again
    assert first != other


def test_guessing_probes_by_chance_is_right_half_the_time_and_a_sure_guess_always() -> None:
    player = Player(0, HONEST_STRATEGY)
    player.prepare(0, (), ScoringConfig())
    (situation,) = player.situations.values()
    requests = arrivals(2000, random.Random(1))
    for hit_rate in (0.5, 1.0):
        serve = on_organic(hit_rate)
        right = sum((serve(one, situation).trace is None) == one.synthetic for one in requests)
        assert abs(right / len(requests) - hit_rate) < 0.05


def test_honest_income_grows_with_speed() -> None:
    points = list(speed_incomes(world(requests=200), (50.0, 100.0)))
    assert points[0].deviation == 0
    assert 1.6 < points[1].income < 2.6
    assert "slope" in speed_words(points)


def test_the_slope_of_proportional_income_is_one_and_of_equal_income_zero() -> None:
    assert slope([SpeedIncome(speed, speed) for speed in (1.0, 2.0, 4.0)]) == pytest.approx(1.0)
    assert slope([SpeedIncome(speed, 3.0) for speed in (1.0, 2.0, 4.0)]) == pytest.approx(0.0)


def test_identical_miners_are_apart_by_luck_alone() -> None:
    found = luck(world(epochs=4, requests=300), (SUBJECT, SUBJECT, SUBJECT))
    assert 0 < found.median <= found.p95 <= found.largest < 0.3
    assert found.answers == 100
    assert "100 answers" in luck_words(found)


def test_every_attack_on_the_score_has_a_strategy() -> None:
    assert {one.threat for one in STRATEGIES} >= set(range(16, 24))
    names = [one.name for one in (*STRATEGIES, *HARMS)]
    assert len(names) == len(set(names))


def test_an_unknown_strategy_is_refused_with_the_names_there_are() -> None:
    with pytest.raises(ConfigError, match="no strategy in4; there are honest, "):
        wanted("in4")
    assert [one.name for one in wanted("int4, honest")] == ["int4", "honest"]
    assert len(wanted("all")) == len(STRATEGIES) + len(HARMS)


def test_the_run_prints_its_tables_and_writes_its_rows(tmp_path: Path) -> None:
    file, said = tmp_path / "rows.json", list[str]()
    config = IncentivesConfig(strategies="honest,int4,faults-5", epochs=3, requests=60, json=file)
    earned = run(config, said.append)
    rows = json.loads(file.read_text())
    assert rows == [earned_json(one) for one in earned]
    incomes = {row["strategy"]: row["income_vs_honest"] for row in rows}
    assert (incomes["honest"], incomes["int4"]) == (1.0, 0.0)
    assert [row["error"] for row in rows] == [None] * 3
    assert "strategies that pay: none" in "\n".join(said)
    assert "it takes 24 epochs or more to tell luck from pay" in "\n".join(said)


def test_a_strategy_pays_that_earns_more_by_more_errors_than_its_batches_take() -> None:
    found = Measuring(world(epochs=24, requests=12), 0.0).earned(HONEST_STRATEGY)
    assert (found.income, found.error, found.pays) == (1.0, 0.0, False)
    for error, pays in ((0.001, True), (0.002, False), (None, False)):
        assert replace(found, income=1.3, error=error).pays == pays
    assert "PAYS" in strategy_cells(replace(found, income=1.3, error=0.001))[2]
    assert "235.8 of them (Student's t, degrees of freedom: 1)" in error_words(24)
