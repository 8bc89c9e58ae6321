"""What a follower refuses of a verdict's outcome, deciding check and weight, and what it lets pass."""

from typing import Any

import pytest

from shared.honest_noise import HonestNoise
from tests.shared.noise_examples import honest_noise
from tests.validator.auditor_examples import UNREMARKABLE, block_number, example_record, example_verdict
from validator.epoch_evidence import EpochRefused, check_evidence
from validator.evidence import PROVEN_LOG_E, UNANSWERED_LOG_E, log_e_value, weigh
from validator.evidence_families import family_ratios
from validator.measurement import EpochInputs
from validator.request_facts import facts_of
from validator.token_evidence import token_score
from validator.verdict_weight import weight_fault
from validator.verdicts import (
    DECIDED_BY,
    AlternativeFit,
    Check,
    Evidence,
    Statistic,
    TokenCheck,
    Verdict,
    VerdictOutcome,
)
from validator.verification import check_evidence as decide

STATISTICS: tuple[Statistic, ...] = ("typical", "mean", "replay", "tokens")
EXACT: tuple[Check, ...] = ("receipt", "prompt", "text", "tokens", "answer", "opening", "sketch", "replay")


CHECKED = TokenCheck(checked=40, exact=39, missed=(0, 1))
RECORD, BLOCK = example_record(1), block_number(1)


def verdict(outcome: VerdictOutcome = "pass", **changes: Any) -> Verdict:
    """With the families that follow from it, unless said otherwise."""
    changed = example_verdict(RECORD, BLOCK, outcome).model_copy(update=changes)
    ratios = family_ratios(changed.evidence, changed.tokens, honest_noise(3).margins)
    return changed if "ratios" in changes else changed.model_copy(update={"ratios": ratios})


def evidence(**p_values: float) -> tuple[Evidence, ...]:
    """Unremarkable statistics, but for those named."""
    return tuple(Evidence(statistic=name, score=1.0, p_value=p_values.get(name, 0.5)) for name in STATISTICS)


def failed(check: Check, stated: tuple[Evidence, ...], log_e: float | None = None) -> Verdict:
    weight = log_e_value(stated) if log_e is None else log_e
    tokens = CHECKED if any(one.statistic == "tokens" for one in stated) else None
    return verdict("fail", check=check, evidence=stated, log_e=weight, tokens=tokens)


@pytest.mark.parametrize("outcome", ["pass", "fail", "inconclusive"])
def test_what_an_auditor_finds_follows(outcome: VerdictOutcome) -> None:
    assert weight_fault(verdict(outcome)) is None


@pytest.mark.parametrize("statistic", STATISTICS)
def test_a_statistic_that_fails_an_audit_gives_check_and_weight(statistic: Statistic) -> None:
    stated = evidence(**{statistic: 1e-7})
    finding = decide(stated)
    assert finding is not None
    assert finding.check == DECIDED_BY[statistic]
    assert weight_fault(failed(finding.check, stated, finding.log_e)) is None


def test_of_several_the_first_decides() -> None:
    stated = evidence(mean=1e-7, tokens=1e-9)
    assert weight_fault(failed("sketch", stated)) is None
    assert "says 'sketch'" in (weight_fault(failed("tokens", stated)) or "")


@pytest.mark.parametrize("change", [1.0, -1.0, 20.0, 1e-6])
def test_a_failed_statistic_of_another_weight_is_refused(change: float) -> None:
    stated = evidence(typical=1e-5)
    wrong = failed("sketch", stated, log_e_value(stated) + change)
    assert "its evidence says" in (weight_fault(wrong) or "")


def test_the_last_bits_of_a_logarithm_may_differ() -> None:
    stated = evidence(typical=1e-5)
    assert weight_fault(failed("sketch", stated, log_e_value(stated) * (1 + 1e-15))) is None


@pytest.mark.parametrize("check", EXACT)
def test_a_failed_exact_check_weighs_what_is_proven(check: Check) -> None:
    assert weight_fault(failed(check, (), PROVEN_LOG_E)) is None
    for weight in (0.0, PROVEN_LOG_E / 2, PROVEN_LOG_E + 1):
        assert weight_fault(failed(check, (), weight)) is not None


def test_only_an_unanswered_challenge_weighs_less() -> None:
    for check in EXACT:
        fault = weight_fault(failed(check, (), UNANSWERED_LOG_E))
        assert (fault is None) == (check == "answer")


@pytest.mark.parametrize("check", ["all", "request"])
def test_a_check_that_fails_nobody_is_refused(check: Check) -> None:
    assert "fails nobody" in (weight_fault(failed(check, (), PROVEN_LOG_E)) or "")


@pytest.mark.parametrize("check", ["sketch", "tokens", "text", "replay"])
def test_a_failure_that_its_statistics_deny_is_refused(check: Check) -> None:
    for weight in (None, PROVEN_LOG_E):
        assert "honest miners have all" in (weight_fault(failed(check, evidence(), weight)) or "")


def test_a_replay_that_contradicts_the_opening_states_its_own_statistic_alone() -> None:
    alone = (Evidence(statistic="replay", score=90.0, p_value=1e-6),)
    assert weight_fault(failed("replay", alone)) is None
    assert "its evidence says" in (weight_fault(failed("replay", alone, PROVEN_LOG_E)) or "")
    honest = (Evidence(statistic="replay", score=1.0, p_value=0.5),)
    assert "honest miners have all" in (weight_fault(failed("replay", honest)) or "")


@pytest.mark.parametrize("statistic", STATISTICS)
def test_a_failure_published_as_a_pass_is_refused(statistic: Statistic) -> None:
    stated = evidence(**{statistic: 1e-7})
    forgiven = verdict(evidence=stated, log_e=log_e_value(stated), tokens=CHECKED)
    assert "passed though" in (weight_fault(forgiven) or "")


@pytest.mark.parametrize("left_out", ["typical", "mean", "replay"])
def test_an_audit_that_leaves_out_a_statistic_is_refused(left_out: str) -> None:
    cases: list[tuple[VerdictOutcome, tuple[Evidence, ...]]] = [
        ("pass", UNREMARKABLE),
        ("fail", evidence(tokens=1e-7)),
    ]
    for outcome, whole in cases:
        stated = tuple(one for one in whole if one.statistic != left_out)
        tokens = CHECKED if outcome == "fail" else None
        changes = {"evidence": stated, "log_e": log_e_value(stated), "check": "tokens", "tokens": tokens}
        fault = weight_fault(example_verdict(RECORD, BLOCK, outcome).model_copy(update=changes))
        assert fault == f"leaves out the statistic {left_out!r}"


def test_tokens_that_were_checked_have_a_statistic_and_others_have_none() -> None:
    whole = evidence()
    weight = log_e_value(whole)
    assert weight_fault(verdict(evidence=whole, log_e=weight, tokens=CHECKED)) is None
    unchecked = TokenCheck(checked=0, exact=0, unchecked="a grammar")
    for tokens in (None, unchecked):
        fault = weight_fault(verdict(evidence=whole, log_e=weight, tokens=tokens))
        assert fault == "invents the statistic 'tokens'"
        assert weight_fault(verdict(tokens=tokens)) is None
    assert weight_fault(verdict(tokens=CHECKED)) == "leaves out the statistic 'tokens'"


def test_an_audit_without_any_statistic_is_no_pass() -> None:
    assert "leaves out" in (weight_fault(verdict(evidence=(), log_e=0.0)) or "")


def test_tokens_alone_decide_nothing() -> None:
    """Their score is an e-value, and may be 0: there is no logarithm of it."""
    for score in (0.0, 1e9):
        alone = (Evidence(statistic="tokens", score=score, p_value=1e-9),)
        assert "leaves out" in (weight_fault(failed("tokens", alone, 1.0)) or "")


def test_a_pass_by_one_check_is_refused() -> None:
    assert "all hold" in (weight_fault(verdict(check="sketch")) or "")


def test_a_statistic_stated_twice_is_refused() -> None:
    stated = (*UNREMARKABLE, UNREMARKABLE[0])
    assert "twice" in (weight_fault(verdict(evidence=stated, log_e=log_e_value(stated))) or "")


@pytest.mark.parametrize(
    "change", [{"log_e": -0.1}, {"log_e": 3.0}, {"evidence": UNREMARKABLE}, {"check": "sketch"}]
)
def test_an_inconclusive_audit_weighs_and_compares_nothing(change: dict[str, Any]) -> None:
    assert weight_fault(verdict("inconclusive", **change)) is not None


def judged(noise: HonestNoise) -> tuple[Evidence, ...]:
    """What an honest audit states under this calibration."""
    scores = {"typical": 0.9, "mean": 1.1, "replay": 1.2, "tokens": token_score(CHECKED, noise.margins)}
    return tuple(weigh(noise, name, scores[name]) for name in STATISTICS)


def passed(stated: tuple[Evidence, ...], tokens: TokenCheck = CHECKED) -> Verdict:
    return verdict(evidence=stated, log_e=log_e_value(stated), tokens=tokens)


def test_with_the_calibration_p_values_follow_from_scores() -> None:
    noise = honest_noise(3)
    stated = judged(noise)
    assert weight_fault(passed(stated), noise) is None
    for place, one in enumerate(stated):
        lie = (*stated[:place], one.model_copy(update={"p_value": one.p_value * 0.5}), *stated[place + 1 :])
        assert weight_fault(passed(lie)) is None, "without the calibration this can't be seen"
        assert "has the p-value" in (weight_fault(passed(lie), noise) or "")


def test_with_the_calibration_the_tokens_score_follows_from_their_classes() -> None:
    noise = honest_noise(3)
    stated = judged(noise)
    for tokens in (
        CHECKED.model_copy(update={"missed": (0, 0, 1)}),
        CHECKED.model_copy(update={"exact": 37, "missed": (0, 0, 3)}),
        CHECKED.model_copy(update={"alternatives": (AlternativeFit(name="hot", log_likelihood=-1.0),)}),
    ):
        assert weight_fault(passed(stated, tokens)) is None, "without the calibration this can't be seen"
        assert "for its tokens" in (weight_fault(passed(stated, tokens), noise) or "")


def test_a_family_that_was_left_out_or_made_up_is_refused() -> None:
    sound = verdict(evidence=evidence(), log_e=log_e_value(evidence()), tokens=CHECKED)
    assert weight_fault(sound) is None
    for family in sound.ratios:
        fewer = {name: ratio for name, ratio in sound.ratios.items() if name != family}
        fault = weight_fault(sound.model_copy(update={"ratios": fewer}))
        assert fault == f"leaves out the family {family!r}"
    for invented in ("with another seed", "no family"):
        more = {**sound.ratios, invented: 1e6}
        fault = weight_fault(sound.model_copy(update={"ratios": more}))
        assert fault == f"invents the family {invented!r}"


def test_what_compared_nothing_tells_no_family() -> None:
    for silent in (failed("opening", ()), verdict("inconclusive")):
        assert silent.ratios == {}
        for family in ("typical", "with another seed"):
            accusing = silent.model_copy(update={"ratios": {family: 1000.0}})
            assert "invents the family" in (weight_fault(accusing) or "")


@pytest.mark.parametrize("factor", [0.9, 1.001, 50.0])
def test_the_ratios_of_hidden_states_follow_from_their_p_values(factor: float) -> None:
    sound = verdict()
    for family, ratio in sound.ratios.items():
        bent = sound.model_copy(update={"ratios": {**sound.ratios, family: ratio * factor}})
        assert "of whose p-value" in (weight_fault(bent) or "")


def test_with_the_calibration_the_ratios_of_tokens_follow_from_their_classes() -> None:
    noise = honest_noise(3)
    fits = (AlternativeFit(name="with another seed", log_likelihood=-7.0),)
    tokens = CHECKED.model_copy(update={"alternatives": fits})
    scores = {"typical": 0.9, "mean": 1.1, "replay": 1.2, "tokens": token_score(tokens, noise.margins)}
    sound = passed(tuple(weigh(noise, name, scores[name]) for name in STATISTICS), tokens)
    assert weight_fault(sound, noise) is None
    assert "with another seed" in sound.ratios
    for family in set(sound.ratios) - {"typical", "mean", "replay"}:
        bent = sound.model_copy(update={"ratios": {**sound.ratios, family: sound.ratios[family] + 0.5}})
        assert weight_fault(bent) is None, "without the calibration this can't be seen"
        assert f"for {family!r}, of whose tokens" in (weight_fault(bent, noise) or "")


def test_an_epoch_with_such_a_verdict_is_refused() -> None:
    record = example_record(1)
    sound = example_verdict(record, block_number(1), "fail")
    bent = sound.model_copy(update={"log_e": PROVEN_LOG_E + 5})
    check_evidence(EpochInputs(1, [facts_of(record)], [sound], (), ()))
    with pytest.raises(EpochRefused, match="weighs") as refused:
        check_evidence(EpochInputs(1, [facts_of(record)], [bent], (), ()))
    assert refused.value.cause == "evidence"
