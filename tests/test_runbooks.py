"""The runbooks keep up with what doctors and processes say."""

import importlib.util
import re
from pathlib import Path

import pytest

from localnet.config import PROJECT_ROOT

PAGE = PROJECT_ROOT / "docs" / "RUNBOOKS.md"
TEXT = PAGE.read_text(encoding="utf-8")
HEADINGS = re.findall(r"^## (.+)$", TEXT, re.MULTILINE)

_QUOTED = re.compile(r"RUNBOOKS[^“”\n]{0,20}“([^”]+)”")
_MODULE = re.compile(r"python -m ((?:validator|gateway|miners|bench|localnet)[\w.]*)")


def source_files() -> list[Path]:
    return [
        file
        for folder in ("shared", "validator", "gateway", "miners")
        for file in (PROJECT_ROOT / folder).glob("*.py")
    ]


def test_every_runbook_that_a_process_points_at_exists() -> None:
    quoted = {name for file in source_files() for name in _QUOTED.findall(file.read_text(encoding="utf-8"))}
    assert len(quoted) >= 3
    assert quoted <= set(HEADINGS)


def test_every_link_of_the_page_leads_to_a_heading() -> None:
    anchors = {re.sub(r"[^a-z0-9 -]", "", heading.lower()).replace(" ", "-") for heading in HEADINGS}
    linked = set(re.findall(r"\]\(#([^)]+)\)", TEXT))
    assert linked <= anchors
    assert anchors <= linked


@pytest.mark.parametrize("module", sorted(set(_MODULE.findall(TEXT))))
def test_every_program_that_the_page_names_exists(module: str) -> None:
    assert importlib.util.find_spec(module) is not None
