"""How the miners' audits stand, by hotkey, as the newest published epoch has them: what routing may ask."""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType


@dataclass(frozen=True)
class AuditStanding:
    """The audits of one hotkey.

    Attributes:
        audits: those that passed or failed and still count.
        passes: how many of them passed.
        rejected: the sequential test rejects the hotkey, so that it earns nothing.
        epoch: the last epoch this is from.
    """

    audits: int
    passes: int
    rejected: bool
    epoch: int


class Standings:
    """What is known now; nothing while no published epochs are followed."""

    def __init__(self) -> None:
        self._by_hotkey: Mapping[str, AuditStanding] = MappingProxyType({})

    def of(self, hotkey: str) -> AuditStanding | None:
        """Where a hotkey stands; None when it was not audited, or nothing is known."""
        return self._by_hotkey.get(hotkey)

    def replace(self, standings: Mapping[str, AuditStanding]) -> None:
        """Take over what a newer epoch says, all of it at once; callable from any thread."""
        self._by_hotkey = MappingProxyType(dict(standings))
