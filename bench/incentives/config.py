"""Flags of the benchmark. Imports nothing heavy, so that `--help` answers at once."""

from dataclasses import dataclass
from pathlib import Path

from shared.config import at_least, setting

PROJECT_ROOT = Path(__file__).resolve().parent.parent.parent
DESCRIPTION = (
    "Play strategies of miners over many epochs under the network's own rules for routing, audits, evidence, "
    "scores and weights, and compare what each earns with honest work of the same machine."
)


@dataclass(frozen=True)
class IncentivesConfig:
    """What is played, and where it goes."""

    strategies: str = setting("all", "strategies to play, comma-separated (a wrong name lists them)")
    epochs: int = setting(48, "epochs of each strategy", at_least(2))
    requests: int = setting(300, "requests of all clients in an epoch", at_least(1))
    seed: int = setting(1, "seed of everything that is drawn", at_least(0))
    calibration: Path = setting(
        PROJECT_ROOT / "localnet" / "calibration" / "SmolLM2-135M-Instruct.calibration",
        "calibration file whose honest noise the audits of honest answers have",
    )
    registration_epochs: float = setting(
        0.0, "what one registration costs, in epochs of the honest machine's income (0: the worst case)",
        at_least(0),
    )  # fmt: skip
    jobs: int = setting(2, "processes that play; the figures are the same with any number", at_least(1))
    json: Path | None = setting(None, "also write the rows to this file, as JSON")
