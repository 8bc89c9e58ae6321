import pytest

from bench.detection.config import DetectionConfig
from bench.detection.measuring import Measured
from bench.detection.power import LONGEST_RUN, power, run_lengths, upper_bound
from bench.detection.rows import CHEATS, cheat_row, honest_row
from bench.detection.run import requests_of, wanted_rows
from bench.detection.tables import cheat_cells, cheat_json, honest_json, markdown
from bench.plain_table import plain
from localnet.roles import ROLES
from shared.errors import ConfigError
from tests.validator.auditor_examples import block_number, example_record, example_verdict
from validator.scoring_config import ScoringConfig
from validator.verdicts import Verdict, VerdictOutcome

CONFIG = ScoringConfig()


def verdicts(outcome: VerdictOutcome, log_e: float, count: int = 20) -> list[Verdict]:
    return [example_verdict(example_record(n), block_number(1), outcome, log_e) for n in range(count)]


def test_overwhelming_evidence_rejects_at_once_and_costs_weight_after_two_audits() -> None:
    found = power(Measured(verdicts("fail", 30.0), 0), CONFIG)
    assert (found.caught, found.median, found.p95, found.costs_weight) == (1.0, 1, 1, 2)
    assert found.checks == ("sketch",)


def test_weak_evidence_takes_many_audits() -> None:
    found = power(Measured(verdicts("pass", 1.0), 0), CONFIG)
    assert (found.caught, found.median) == (0.0, 15)


def test_honest_evidence_never_rejects() -> None:
    honest = verdicts("pass", -0.4)
    found = power(Measured(honest, 0), CONFIG)
    assert (found.median, found.rejected, found.at_best) == (None, 0, None)


def test_half_of_all_audits_caught_spreads_the_run_lengths() -> None:
    mixed = verdicts("fail", 30.0) + verdicts("pass", -0.4)
    found = power(Measured(mixed, 0), CONFIG)
    assert found.caught == 0.5
    assert found.p95 is not None
    assert found.median is not None
    assert found.p95 > found.median


def test_inconclusive_audits_and_silence_catch_nobody() -> None:
    found = power(Measured(verdicts("inconclusive", 0.0), 7), CONFIG)
    assert (found.caught, found.inconclusive, found.unanswered, found.median) == (0.0, 20, 7, None)
    assert power(Measured([], 0), CONFIG).median is None


def test_runs_end() -> None:
    assert set(run_lengths(verdicts("pass", 0.0, 3), CONFIG, 0)) == {None}
    assert LONGEST_RUN >= 100


@pytest.mark.parametrize(
    ("events", "trials", "bound"), [(0, 3000, 0.001), (1, 474, 0.01), (9, 10, 1.0), (0, 0, 1.0)]
)
def test_the_rule_of_three_and_its_table(events: int, trials: int, bound: float) -> None:
    assert upper_bound(events, trials) == pytest.approx(bound)


def test_every_dishonest_role_that_answers_is_a_row() -> None:
    assert {name for name, role in ROLES.items() if not role.honest} == {*CHEATS, "slow-drip"}


def test_rows_are_named_or_refused() -> None:
    assert [row.name for row in wanted_rows("int8, honest-split")] == ["int8", "honest-split"]
    assert len(wanted_rows("all")) == len(CHEATS) + 5
    with pytest.raises(ConfigError, match="int9"):
        wanted_rows("int9")


def test_honest_audits_add_up() -> None:
    config = DetectionConfig()
    anywhere = [row for row in wanted_rows("honest") if row.condition != "split"]
    assert sum(requests_of(row, config) for row in anywhere) >= config.honest_audits
    assert requests_of(cheat_row("int8"), config) == config.requests


def test_a_row_for_programs_has_the_agreed_keys() -> None:
    found = power(Measured(verdicts("fail", 30.0), 0), CONFIG)
    row = cheat_json(cheat_row("int8"), found)
    assert {"cheat", "requests", "caught_by_one_audit", "audits_median", "audits_p95", "caught_by"} <= set(
        row
    )
    passed = Measured(verdicts("pass", -0.4, 300), 0)
    honest = honest_json(honest_row("eager"), passed, power(passed, CONFIG))
    assert (honest["false_alarms"], honest["upper_bound_95"]) == (0, pytest.approx(0.01))


def test_tables_have_a_cell_for_each_head() -> None:
    cells = cheat_cells(cheat_row("int8"), power(Measured(verdicts("fail", 30.0), 0), CONFIG))
    text = markdown(["a"] * len(cells), [cells])
    assert text.count("\n") == 2
    assert "int8" in plain(["a"] * len(cells), [cells])
