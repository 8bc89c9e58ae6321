"""Flags of the benchmark. Imports nothing heavy, so that `--help` answers at once."""

from dataclasses import dataclass
from pathlib import Path

from shared.config import at_least, setting

PROJECT_ROOT = Path(__file__).resolve().parent.parent.parent
DESCRIPTION = (
    "Measure what audits catch: a real miner for each cheat and for each honest kind of engine, real "
    "requests, the real auditor. Takes one to two hours on two cores; rows that were measured are kept."
)


@dataclass(frozen=True)
class DetectionConfig:
    """What is measured, and where it goes."""

    rows: str = setting(
        "all", "rows to measure, comma-separated: cheats by name, honest-eager, … (all; cheats; honest)"
    )
    requests: int = setting(24, "requests to each cheat", at_least(4))
    honest_audits: int = setting(2000, "audits of honest miners, over all conditions", at_least(20))
    model: str = setting("", "folder of the model (default: the demo model, built on first use)")
    folder: Path = setting(PROJECT_ROOT / ".localnet", "where models are kept")
    work: Path = setting(PROJECT_ROOT / ".localnet" / "detection", "where measured rows and logs are kept")
    as_measured: bool = setting(False, "measure nothing; print what has been measured so far")
    fresh: bool = setting(False, "measure rows again that were measured before")
    json: Path | None = setting(None, "also write the rows to this file, as JSON")
    out: Path | None = setting(None, "also write the tables to this Markdown file")
    seed: int = setting(1, "seed of the requests", at_least(0))
