"""What a client asks of the miner that serves it: the field `provider` of a request. Miners never see it."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from gateway.errors import ApiError, invalid_request

MOST_NAMED = 64
"""Miners that one list may name; a subnet has 256."""

_UID_LIMIT = 1 << 16
_SS58 = re.compile(r"^[1-9A-HJ-NP-Za-km-z]{46,50}$")
_FIELDS = ("order", "ignore", "allow_fallbacks", "require_audited", "min_pass_rate")

Named = int | str
"""A miner's uid or its hotkey."""


@dataclass(frozen=True)
class ProviderHints:
    """Conditions on miners, and an order of preference.

    Attributes:
        order: miners that come before all others, the first first.
        ignore: miners that must not serve.
        allow_fallbacks: whether miners outside `order` may serve when none of it can.
        require_audited: only miners of whom an audit has been decided, and whom the audits don't reject.
        min_pass_rate: the least share of its audits that a miner has passed.
    """

    order: tuple[Named, ...] = ()
    ignore: frozenset[Named] = frozenset()
    allow_fallbacks: bool = True
    require_audited: bool = False
    min_pass_rate: float = 0.0

    @property
    def narrows(self) -> bool:
        """Whether anything is asked for at all."""
        return bool(self.order or self.ignore or self.require_audited or self.min_pass_rate)


def parse_provider_hints(value: Any) -> ProviderHints | None:
    """The hints of a request; None when it has none that ask for anything.

    Raises:
        ApiError: 400; names the part that is wrong.
    """
    if value is None:
        return None
    if not isinstance(value, dict):
        raise invalid_request(f"provider must be an object with any of {', '.join(_FIELDS)}.", "provider")
    for name in value:
        if name not in _FIELDS:
            raise _wrong(f".{name[:64]}", f"is not known; provider may have {', '.join(_FIELDS)}")
    hints = ProviderHints(
        order=_named(value, "order"),
        ignore=frozenset(_named(value, "ignore")),
        allow_fallbacks=_flag(value, "allow_fallbacks", True),
        require_audited=_flag(value, "require_audited", False),
        min_pass_rate=_share(value, "min_pass_rate"),
    )
    if not hints.allow_fallbacks and not hints.order:
        raise _wrong(".allow_fallbacks", "can be false only beside provider.order: nobody would be left")
    return hints if hints.narrows else None


def _named(fields: Mapping[str, Any], name: str) -> tuple[Named, ...]:
    value = fields.get(name)
    if value is None:
        return ()
    if not isinstance(value, list) or len(value) > MOST_NAMED:
        raise _wrong(f".{name}", f"must be a list of at most {MOST_NAMED} uids or hotkeys")
    for place, one in enumerate(value):
        if not _is_uid(one) and not (isinstance(one, str) and _SS58.match(one)):
            raise _wrong(
                f".{name}[{place}]", f"must be a uid, from 0 to {_UID_LIMIT - 1}, or a hotkey's address (5…)"
            )
    return tuple(value)


def _is_uid(value: Any) -> bool:
    return type(value) is int and 0 <= value < _UID_LIMIT


def _flag(fields: Mapping[str, Any], name: str, default: bool) -> bool:
    value = fields.get(name)
    if value is None:
        return default
    if not isinstance(value, bool):
        raise _wrong(f".{name}", "must be true or false")
    return value


def _share(fields: Mapping[str, Any], name: str) -> float:
    value = fields.get(name)
    if value is None:
        return 0.0
    if type(value) not in (int, float) or not 0 <= value <= 1:
        raise _wrong(f".{name}", "must be a number from 0 to 1")
    return float(value)


def _wrong(place: str, what: str) -> ApiError:
    return invalid_request(f"provider{place} {what}.", f"provider{place}")
