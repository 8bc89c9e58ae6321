"""What a look at a store found, in words: for people as text, for programs as JSON."""

import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Literal

Level = Literal["ok", "note", "problem"]
"""ok: as it should be. note: works, and worth knowing. problem: publishing or following would fail."""

_SHOWN = {"ok": "ok", "note": "note", "problem": "PROBLEM"}


@dataclass(frozen=True)
class Finding:
    """One check: what was looked at, what was found, and what to do about it."""

    check: str
    level: Level
    words: str
    cure: str = ""


def ok(check: str, words: str) -> Finding:
    """All is well."""
    return Finding(check, "ok", words)


def note(check: str, words: str, cure: str = "") -> Finding:
    """Worth knowing."""
    return Finding(check, "note", words, cure)


def problem(check: str, words: str, cure: str) -> Finding:
    """Something that has to be put right; how."""
    return Finding(check, "problem", words, cure)


def all_well(findings: Iterable[Finding]) -> bool:
    """Whether nothing has to be put right."""
    return all(finding.level != "problem" for finding in findings)


def as_line(finding: Finding) -> str:
    """One finding for people, its cure on a line of its own."""
    cure = f"\n{'':21}→ {finding.cure}" if finding.cure else ""
    return f"{_SHOWN[finding.level]:8} {finding.check:12}{finding.words}{cure}"


def as_json(store: str, findings: Sequence[Finding]) -> str:
    """All findings for programs."""
    report = {
        "store": store,
        "ok": all_well(findings),
        "findings": [asdict(finding) for finding in findings],
    }
    return json.dumps(report, indent=2, ensure_ascii=False)
