"""What is to be audited now: of the epoch that closes, and of the one that is open."""

from collections.abc import Mapping

from validator.audit_history import standings
from validator.challenge_schedule import AuditPlan
from validator.epoch_state import EpochState, SealedEpoch
from validator.request_state import RequestState
from validator.sequential_test import Standing


class AuditPlans:
    """Reads the plans from what is stored, so that every auditor has the same. Blocks."""

    def __init__(self, epochs: EpochState, requests: RequestState) -> None:
        self._epochs, self._requests = epochs, requests
        self._standings: tuple[str, Mapping[str, Standing]] = ("", {})

    def plans(self) -> dict[int, AuditPlan]:
        """What is to be audited now, by epoch, the closing one first.

        While an epoch closes, the standings with which the next one begins are not known.
        """
        plans: dict[int, AuditPlan] = {}
        closing, current = self._epochs.in_phase("closing"), self._epochs.in_phase("open")
        if closing is not None:
            drawn = self._requests.count_undrawn(closing.number) == 0
            plans[closing.number] = AuditPlan(self._last_standings(), complete=drawn)
        if current is not None:
            known = self._last_standings() if closing is None else None
            plans[current.number] = AuditPlan(known, complete=False)
        return plans

    def _last_standings(self) -> Mapping[str, Standing]:
        """The sequential tests as the newest sealed epoch left them."""
        sealed = self._epochs.sealed()
        digest = sealed.digest if sealed else ""
        if digest != self._standings[0]:
            self._standings = (digest, _standings_after(sealed))
        return self._standings[1]


def _standings_after(sealed: SealedEpoch | None) -> Mapping[str, Standing]:
    return standings(sealed.summary().history_after) if sealed else {}
