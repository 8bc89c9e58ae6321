"""What was measured is weighed by today's evidence; what no statistic decided stays."""

from bench.detection.reweigh import reweighed
from tests.shared.noise_examples import honest_noise
from tests.validator.auditor_examples import block_number, example_record, example_verdict
from validator.evidence import PROVEN_LOG_E, UNANSWERED_LOG_E, log_e_value
from validator.evidence_families import WEIGHTS
from validator.verdict_weight import weight_fault
from validator.verdicts import AlternativeFit, Evidence, TokenCheck, Verdict

NOISE = honest_noise(3)
EXACT = TokenCheck(checked=40, exact=40, missed=(0,) * 14)
COLDER = TokenCheck(
    checked=40,
    exact=36,
    missed=(0, 0, 0, 0, 0, 0, 0, 4, 0, 0, 0, 0, 0, 0),
    alternatives=(AlternativeFit(name="at temperature 0.7", log_likelihood=-2.0),),
)


def measured(tokens: TokenCheck, typical: float = 1.0) -> Verdict:
    """As an older auditor left it: p-values, weight and outcome that no longer follow."""
    stale = tuple(
        Evidence(statistic=name, score=typical if name == "typical" else 1.0, p_value=0.77)
        for name in ("typical", "mean", "replay", "tokens")
    )
    verdict = example_verdict(example_record(1), block_number(1))
    return verdict.model_copy(update={"evidence": stale, "log_e": 3.0, "tokens": tokens})


def test_a_pass_is_weighed_anew_and_follows_from_its_evidence() -> None:
    assert weight_fault(measured(EXACT), NOISE) is not None
    again = reweighed(measured(EXACT), NOISE)
    assert (again.outcome, again.check) == ("pass", "all")
    assert again.log_e == log_e_value(again.evidence) < 0
    assert {"typical", "mean", "replay"} < set(again.ratios) < set(WEIGHTS)
    assert weight_fault(again, NOISE) is None


def test_tokens_that_another_sampler_explains_now_fail() -> None:
    again = reweighed(measured(COLDER), NOISE)
    assert (again.outcome, again.check) == ("fail", "tokens")
    assert "drawn at temperature 0.7" in again.reason
    assert weight_fault(again, NOISE) is None


def test_a_score_that_fails_today_fails() -> None:
    again = reweighed(measured(EXACT, typical=900.0), NOISE)
    assert (again.outcome, again.check) == ("fail", "sketch")


def test_what_an_exact_check_decided_stays() -> None:
    failed = example_verdict(example_record(1), block_number(1), "fail")
    assert reweighed(failed, NOISE) == failed
    assert reweighed(failed.model_copy(update={"log_e": 1.0}), NOISE).log_e == PROVEN_LOG_E
    unanswered = failed.model_copy(update={"log_e": UNANSWERED_LOG_E})
    assert reweighed(unanswered, NOISE) == unanswered
