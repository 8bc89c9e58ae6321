"""What else could have drawn an answer's tokens: other samplers, and models that differ a little.

Each alternative is a probability distribution over the next token, made of the reference's own logits. It
has to be one, that is all: which alternatives there are decides how fast a cheat is seen, never whether an
honest miner is (`validator/token_evidence.py`). The sampler's noise is known, so an alternative sampler
draws one certain token, up to the numerical noise of whoever computed the logits.
"""

from dataclasses import dataclass

from validator.alternative_names import (
    ERRORS,
    GREEDY_INSTEAD,
    OTHER_SEED,
    STEPS,
    UNFILTERED,
    UNPENALISED,
    error_name,
    step_name,
    temperature_name,
)
from validator.sampling_rules import LEAST_TEMPERATURE, SamplingRule

NARROW = 0.05
"""Scale of the numerical noise around a named sampler's draw, in logits: about what bfloat16 does."""


@dataclass(frozen=True)
class Alternative:
    """One other way to draw a token.

    Attributes:
        name: in words that fit into "as if drawn …"; the same for the same cheat whatever the request asks
            for, so that what one audit shows of it can be held with the next
            (`validator.alternative_names.NAMES` has them all).
        temperature: that scores are made with; 0 takes the largest logit.
        scale: of the noise around the highest score, in logits.
        filtered: whether min-p, top-k and top-p apply.
        penalised: whether penalties apply.
        known_noise: whether the sampler's noise is that of the request's seed.
    """

    name: str
    temperature: float
    scale: float = NARROW
    filtered: bool = True
    penalised: bool = True
    known_noise: bool = True


def alternatives(rule: SamplingRule) -> tuple[Alternative, ...]:
    """The alternatives to a request's own sampling, the same for everybody who knows the request."""
    found = [Alternative(error_name(scale), rule.temperature, scale) for scale in ERRORS]
    found += [Alternative(name, temperature) for temperature, name in temperatures(rule).items()]
    if not rule.greedy:
        found.append(Alternative(OTHER_SEED, rule.temperature, known_noise=False))
    if rule.top_k or rule.top_p < 1 or rule.min_p:
        found.append(Alternative(UNFILTERED, rule.temperature, filtered=False))
    if (rule.repetition_penalty, rule.presence_penalty, rule.frequency_penalty) != (1, 0, 0):
        found.append(Alternative(UNPENALISED, rule.temperature, penalised=False))
    return tuple(found)


def temperatures(rule: SamplingRule) -> dict[float, str]:
    """The other temperatures with their names: a step's where it lies a step from the request's own."""
    if rule.greedy:
        return {} if rule.seed is None else {one: temperature_name(one) for one in GREEDY_INSTEAD}
    near = {round(rule.temperature + step, 6): step_name(step) for step in STEPS}
    found = {0.0: temperature_name(0.0)}
    found |= {one: name for one, name in near.items() if one >= LEAST_TEMPERATURE}
    found.setdefault(1.0, temperature_name(1.0))
    return {one: name for one, name in found.items() if one != rule.temperature}
