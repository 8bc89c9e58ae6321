"""Texts from rules: a rule is a list of templates, whose {slots} are other rules or numbers {#low-high}."""

import math
import random
import re
from collections.abc import Mapping, Sequence

from shared.errors import ConfigError

_SLOT = re.compile(r"\{(#\d+-\d+|[a-z_]+)\}")

Rules = Mapping[str, Sequence[str] | Mapping[str, int]]
"""Templates of each rule: equally likely in a list, with weights in a mapping."""


class Grammar:
    """A context-free grammar without recursion.

    Raises:
        ConfigError: a slot names no rule, or a rule contains itself.
    """

    def __init__(self, rules: Rules) -> None:
        self._templates = {name: list(templates) for name, templates in rules.items()}
        self._weights = {
            name: list(templates.values()) if isinstance(templates, Mapping) else None
            for name, templates in rules.items()
        }
        self._counts: dict[str, int] = {}
        for name in rules:
            self._count(name, ())

    def expand(self, rule: str, chance: random.Random) -> str:
        """One text of `rule`."""
        template = chance.choices(self._templates[rule], self._weights[rule])[0]
        return self.fill(template, chance)

    def fill(self, template: str, chance: random.Random) -> str:
        """One text of a template."""
        return _SLOT.sub(lambda slot: self._slot(slot[1], chance), template)

    def _slot(self, slot: str, chance: random.Random) -> str:
        if not slot.startswith("#"):
            return self.expand(slot, chance)
        low, high = _bounds(slot)
        return str(chance.randint(low, high))

    def count(self, rule: str) -> int:
        """How many texts a rule has, counting equal ones that come about differently."""
        return self._count(rule, ())

    def _count(self, rule: str, above: tuple[str, ...]) -> int:
        if rule in above:
            raise ConfigError(f"the rule {rule!r} of the grammar contains itself")
        if rule not in self._templates:
            raise ConfigError(f"the grammar has no rule {rule!r}, which {above[-1]!r} uses")
        if rule not in self._counts:
            self._counts[rule] = sum(
                math.prod(self._count_slot(slot, (*above, rule)) for slot in _SLOT.findall(template))
                for template in self._templates[rule]
            )
        return self._counts[rule]

    def _count_slot(self, slot: str, above: tuple[str, ...]) -> int:
        if not slot.startswith("#"):
            return self._count(slot, above)
        low, high = _bounds(slot)
        return high - low + 1


def _bounds(slot: str) -> tuple[int, int]:
    low, high = slot[1:].split("-")
    return int(low), int(high)
