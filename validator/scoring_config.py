"""The numbers that scoring is made of; they are published with every epoch."""

from typing import Annotated

from pydantic import Field

from shared.identifiers import Message

Share = Annotated[float, Field(ge=0, le=1)]


class ScoringConfig(Message):
    """Constants of one network's scoring. An epoch's summary states the ones it was scored with."""

    throughput_share: Share = 0.40
    latency_share: Share = 0.20
    verification_share: Share = 0.40

    virtual_passes: Annotated[int, Field(ge=0)] = 2
    """Audits that count as passed before the first one: one bad audit of a newcomer is not half of all.
    After five real audits they are 2 of 7."""
    settled_audits: Annotated[int, Field(ge=1)] = 5
    """Audits from which on the pass rate is no longer called provisional."""

    gate_fails: Annotated[int, Field(ge=2)] = 2
    """Failed audits below which nobody is gated: one bad audit never suffices."""
    gate_fail_share: Share = 0.10
    """Gated when more than this share of audits failed. Honest audits fail at the calibration's false-alarm
    rate; at 0.1 %, five audits hold two failures once in 100,000 epochs (10 × 0.001²)."""
    history_epochs: Annotated[int, Field(ge=0)] = 12
    """Earlier epochs whose audits still count, by hotkey: five hours of 25-minute epochs."""

    virtual_answers: Annotated[int, Field(ge=0)] = 2
    """Answers that count as given before the first one, when failed requests are weighed."""
    speed_min_tokens: Annotated[int, Field(ge=1)] = 8
    """Answers with fewer output tokens say little about speed; they count only when there are no others."""
    ttft_softening_ms: Annotated[float, Field(gt=0)] = 50.0
    """Added to both sides when times to first token are compared: people don't feel smaller differences."""
