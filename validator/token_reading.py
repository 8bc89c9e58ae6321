"""What the reference's logits say of an answer's tokens, and what of it is published."""

from collections.abc import Sequence
from dataclasses import dataclass

from validator.output_tokens import OutputTokens
from validator.token_evidence import missed_by_class
from validator.token_likelihoods import total_likelihoods
from validator.verdicts import MAX_REASON_CHARACTERS, AlternativeFit, TokenCheck


@dataclass(frozen=True)
class TokenReading:
    """What the reference's logits say of every output token, in the order of choices.

    Attributes:
        margins: in logits.
        leads: how far the reference's own choice was from losing, in logits.
    """

    margins: tuple[float, ...]
    leads: tuple[float, ...]
    alternatives: tuple[AlternativeFit, ...]


def token_check(reading: TokenReading, unchecked: str = "") -> TokenCheck:
    """What is published of a reading."""
    missed = missed_by_class(reading.margins)
    return TokenCheck(
        checked=len(reading.margins),
        exact=len(reading.margins) - sum(missed),
        missed=missed if reading.margins else (),
        alternatives=reading.alternatives,
        unchecked=unchecked[:MAX_REASON_CHARACTERS],
    )


def alternative_fits(choices: Sequence[OutputTokens]) -> tuple[AlternativeFit, ...]:
    """The choices of one answer have one rule, so the same alternatives."""
    if not choices:
        return ()
    totals = total_likelihoods([choice.log_likelihoods() for choice in choices])
    return tuple(
        AlternativeFit(name=one.name, log_likelihood=min(0.0, total))
        for one, total in zip(choices[0].alternatives, totals, strict=True)
    )
