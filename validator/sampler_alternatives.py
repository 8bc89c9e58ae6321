"""What else could have drawn an answer's tokens: other samplers, and models that differ a little.

Each alternative is a probability distribution over the next token, made of the reference's own logits. It
has to be one, that is all: which alternatives there are decides how fast a cheat is seen, never whether an
honest miner is (`validator/token_evidence.py`). The sampler's noise is known, so an alternative sampler
draws one certain token, up to the numerical noise of whoever computed the logits.
"""

from dataclasses import dataclass

from validator.sampling_rules import LEAST_TEMPERATURE, SamplingRule

NARROW = 0.05
"""Scale of the numerical noise around a named sampler's draw, in logits: about what bfloat16 does."""

ERRORS = (0.1, 0.4, 1.5)
"""Scales of the errors that other weights add to logits: on the demo model about those of int8, 4-bit weights
and another model."""

STEPS = (-0.2, -0.1, 0.1, 0.2)
"""Temperatures this far from the request's are looked for, beside 0 and 1."""

GREEDY_INSTEAD = (0.3, 0.7, 1.0)
"""Temperatures that are looked for where the request asks for none."""


@dataclass(frozen=True)
class Alternative:
    """One other way to draw a token.

    Attributes:
        name: in words that fit into "as if drawn …".
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
    found = [
        Alternative(f"with errors of about {scale:g} logits", rule.temperature, scale) for scale in ERRORS
    ]
    found += [
        Alternative(f"at temperature {temperature:g}", temperature) for temperature in _temperatures(rule)
    ]
    if not rule.greedy:
        found.append(Alternative("with another seed", rule.temperature, known_noise=False))
    if rule.top_k or rule.top_p < 1 or rule.min_p:
        found.append(Alternative("without top-k, top-p and min-p", rule.temperature, filtered=False))
    if (rule.repetition_penalty, rule.presence_penalty, rule.frequency_penalty) != (1, 0, 0):
        found.append(Alternative("without penalties", rule.temperature, penalised=False))
    return tuple(found)


def _temperatures(rule: SamplingRule) -> tuple[float, ...]:
    if rule.greedy:
        return () if rule.seed is None else GREEDY_INSTEAD
    near = [round(rule.temperature + step, 6) for step in STEPS]
    others = [0.0, *(one for one in near if one >= LEAST_TEMPERATURE), 1.0]
    return tuple(one for one in dict.fromkeys(others) if one != rule.temperature)
