"""What a doctor finds: one sentence a check, with its cure, shown as it is found.

A doctor is a mapping from subjects to sections. A section looks at one thing and gives its findings; what it
raises on purpose becomes a finding too, so that one broken thing does not hide the others.
"""

import asyncio
import json
import logging
import sys
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Literal, TextIO

from shared.errors import ConstantinopleError

Grade = Literal["ok", "note", "warn", "bad"]
"""ok: as it should be. note: could not be told from here, or worth knowing; asks for nothing.
warn: works, and should be changed. bad: does not work, or soon won't."""

WELL, FINDINGS = 0, 1
"""Exit statuses; 2, for usage, comes from `shared.config.exit_on_config_error`."""

_MARKS: Mapping[Grade, str] = {"ok": "ok  ", "note": "note", "warn": "WARN", "bad": "BAD "}
_SUBJECT_WIDTH = 13


@dataclass(frozen=True)
class Finding:
    """One sentence about a subject, and what to do; a cure stands wherever the grade asks for one."""

    subject: str
    grade: Grade
    what: str
    cure: str = ""

    @property
    def well(self) -> bool:
        """Whether nothing has to be done."""
        return self.grade in ("ok", "note")


def ok(subject: str, what: str) -> Finding:
    """As it should be."""
    return Finding(subject, "ok", what)


def note(subject: str, what: str, cure: str = "") -> Finding:
    """Could not be told from here, or worth knowing."""
    return Finding(subject, "note", what, cure)


def warn(subject: str, what: str, cure: str) -> Finding:
    """Works, and should be changed."""
    return Finding(subject, "warn", what, cure)


def bad(subject: str, what: str, cure: str) -> Finding:
    """Does not work."""
    return Finding(subject, "bad", what, cure)


Section = Callable[[], Awaitable[Sequence[Finding]]]
Show = Callable[[Finding], None]

SEE_WORDS = "do what the words before this arrow say, then run the doctor again"


async def examine(sections: Mapping[str, Section], show: Show) -> list[Finding]:
    """Run the sections one after another and show each finding at once."""
    found: list[Finding] = []
    for subject, section in sections.items():
        for finding in await _findings(subject, section):
            show(finding)
            found.append(finding)
    return found


async def _findings(subject: str, section: Section) -> Sequence[Finding]:
    try:
        return await section()
    except (ConstantinopleError, OSError) as error:
        return [bad(subject, str(error), SEE_WORDS)]


def as_text(finding: Finding) -> str:
    """A line, and an indented second one with the cure."""
    line = f"{_MARKS[finding.grade]}  {finding.subject:{_SUBJECT_WIDTH}} {finding.what}"
    return f"{line}\n{'':{_SUBJECT_WIDTH + 7}}→ {finding.cure}" if finding.cure else line


def in_words(findings: Sequence[Finding]) -> str:
    """The last line: how many there are of what asks for something."""
    counts = {grade: sum(one.grade == grade for one in findings) for grade in ("bad", "warn")}
    if not any(counts.values()):
        return f"all well: {len(findings)} checks"
    return f"{counts['bad']} bad, {counts['warn']} to change, of {len(findings)} checks"


def as_json(findings: Sequence[Finding]) -> str:
    """One JSON object: `well`, and `findings` in their order."""
    well = all(one.well for one in findings)
    return json.dumps({"well": well, "findings": [asdict(one) for one in findings]}, indent=2)


def run_doctor(sections: Mapping[str, Section], json_output: bool, out: TextIO | None = None) -> int:
    """Examine, print, and give the exit status: 0 when nothing has to be done."""
    stream = out or sys.stdout

    def show(finding: Finding) -> None:
        if not json_output:
            print(as_text(finding), file=stream, flush=True)

    # What the libraries and the checked parts log meanwhile is said by the findings.
    before = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        findings = asyncio.run(examine(sections, show))
    finally:
        logging.disable(before)
    print(as_json(findings) if json_output else in_words(findings), file=stream, flush=True)
    return WELL if all(one.well for one in findings) else FINDINGS
