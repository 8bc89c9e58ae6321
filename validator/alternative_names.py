"""The names of the ways to draw tokens otherwise, and the steps and scales that are looked for.

Followers, who have no model library, know every name too.
"""

ERRORS = (0.1, 0.4, 1.5)
"""Scales of the errors that other weights add to logits: on the demo model about those of int8, 4-bit weights
and another model."""

STEPS = (-0.2, -0.1, 0.1, 0.2)
"""Temperatures this far from the request's are looked for, beside 0 and 1."""

GREEDY_INSTEAD = (0.3, 0.7, 1.0)
"""Temperatures that are looked for where the request asks for none."""

OTHER_SEED = "with another seed"
UNFILTERED = "without top-k, top-p and min-p"
UNPENALISED = "without penalties"


def error_name(scale: float) -> str:
    """Other weights, by the scale of their errors in logits."""
    return f"with errors of about {scale:g} logits"


def temperature_name(temperature: float) -> str:
    """A temperature of its own, whatever the request's."""
    return f"at temperature {temperature:g}"


def step_name(step: float) -> str:
    """A temperature so far from the request's."""
    return f"at the request's temperature {step:+g}"


NAMES = (
    *map(error_name, ERRORS),
    *map(temperature_name, (0.0, *GREEDY_INSTEAD)),
    *map(step_name, STEPS),
    OTHER_SEED,
    UNFILTERED,
    UNPENALISED,
)
"""Of all alternatives that any request has."""
