"""What a replay finds: one result a check and epoch."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Literal

from validator.epoch_evidence import EpochRefused

CheckName = Literal[
    "pointer", "signature", "hash chain", "files", "records", "receipts", "texts", "challenges", "openings",
    "verdicts", "rounds", "history", "scores", "weights", "blocks", "anchor", "chain weights", "re-audit",
]  # fmt: skip

CHECKS: Sequence[CheckName] = CheckName.__args__  # type: ignore[attr-defined]
"""All checks, in the order of the page."""

State = Literal["holds", "fails", "unchecked"]


@dataclass(frozen=True)
class CheckResult:
    """How one check went, in words; `epoch` is None of what concerns all of them."""

    name: CheckName
    state: State
    words: str
    epoch: int | None = None


def holds(name: CheckName, words: str, epoch: int | None = None) -> CheckResult:
    """The check holds."""
    return CheckResult(name, "holds", words, epoch)


def fails(name: CheckName, words: str, epoch: int | None = None) -> CheckResult:
    """The check does not hold."""
    return CheckResult(name, "fails", words, epoch)


def unchecked(name: CheckName, words: str, epoch: int | None = None) -> CheckResult:
    """The check could not be made."""
    return CheckResult(name, "unchecked", words, epoch)


def checked(name: CheckName, epoch: int, check: Callable[[], str]) -> CheckResult:
    """Run a check that returns what it found, in words, or refuses."""
    try:
        return holds(name, check(), epoch)
    except EpochRefused as refused:
        return fails(name, str(refused), epoch)


@dataclass
class ReplayReport:
    """Everything that a replay found."""

    source: str
    publisher: str = ""
    epochs: list[int] = field(default_factory=list)
    results: list[CheckResult] = field(default_factory=list)
    repeated: list[tuple[int, str, str]] = field(default_factory=list)
    """The audits that were repeated: (epoch, request id, miner's hotkey)."""

    @property
    def sound(self) -> bool:
        """Whether nothing that was checked fails."""
        return all(one.state != "fails" for one in self.results)

    def of(self, name: CheckName) -> list[CheckResult]:
        """The results of one check."""
        return [one for one in self.results if one.name == name]
