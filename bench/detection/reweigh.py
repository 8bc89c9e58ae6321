"""Measured verdicts as today's evidence judges them: what was measured stays, its weights are made anew."""

from shared.honest_noise import HonestNoise
from validator.evidence import PROVEN_LOG_E, UNANSWERED_LOG_E, log_e_value, weigh
from validator.evidence_families import family_ratios
from validator.findings import Finding
from validator.token_evidence import best_explanation, token_score
from validator.verdicts import Evidence, Verdict
from validator.verification import check_evidence


def reweighed(verdict: Verdict, noise: HonestNoise) -> Verdict:
    """A verdict that statistics decided, weighed again; others as they are, with what they count today."""
    names = {one.statistic for one in verdict.evidence}
    tokens = verdict.tokens
    if not {"typical", "mean", "replay"} <= names or tokens is None:
        return _exact(verdict, noise)
    evidence = [weigh(noise, one.statistic, one.score) for one in verdict.evidence]
    if tokens.checked:
        score = token_score(tokens, noise.margins)
        evidence = [weigh(noise, "tokens", score) if one.statistic == "tokens" else one for one in evidence]
    drawn = best_explanation(tokens, noise.margins) if tokens.checked else ""
    finding = check_evidence(evidence, drawn) or _passed(evidence)
    return verdict.model_copy(
        update={
            "outcome": finding.outcome,
            "check": finding.check,
            "reason": finding.reason,
            "evidence": tuple(evidence),
            "log_e": finding.log_e,
            "ratios": family_ratios(tuple(evidence), tokens, noise.margins),
        }
    )


def _exact(verdict: Verdict, noise: HonestNoise) -> Verdict:
    """A replay that contradicts the opening has a statistic, a failed exact check and silence have none."""
    ratios = family_ratios(verdict.evidence, verdict.tokens, noise.margins)
    if verdict.outcome != "fail" or verdict.evidence or verdict.log_e == UNANSWERED_LOG_E:
        return verdict.model_copy(update={"ratios": ratios})
    return verdict.model_copy(update={"log_e": PROVEN_LOG_E})


def _passed(evidence: list[Evidence]) -> Finding:
    return Finding("pass", "all", "every check held", log_e_value(evidence))
