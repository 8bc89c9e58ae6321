"""The page of faults names tests that there are."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "RELIABILITY.md"
_TEST = re.compile(r"def (test_\w+)\(")


def existing_tests() -> set[str]:
    files = (ROOT / "tests").rglob("test_*.py")
    return {name for file in files for name in _TEST.findall(file.read_text())}


def test_every_test_that_the_page_names_exists() -> None:
    named = set(re.findall(r"`(test_\w+)`", PAGE.read_text()))
    assert len(named) > 30
    assert named - existing_tests() == set()


def test_every_row_of_faults_names_a_test() -> None:
    rows = [line for line in PAGE.read_text().splitlines() if line.startswith("| ") and line.count("|") == 6]
    faults = [row for row in rows if not row.startswith("| fault")]
    assert faults
    assert [row for row in faults if "`test_" not in row] == []
