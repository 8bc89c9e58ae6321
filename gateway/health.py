"""What GET /health and GET /ready say: how the gateway is, whether it can serve now, and why not."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from gateway.admission import Admission
from gateway.discovery import Discovery
from gateway.drain import Drain
from gateway.miners import MinerTable
from gateway.recording import Recorder

DRAINING = "the gateway is shutting down: it finishes what runs and takes nothing new"


@dataclass(frozen=True)
class Readiness:
    """Whether requests should be sent here now."""

    table: MinerTable
    discovery: Discovery
    recorder: Recorder
    admission: Admission
    drain: Drain

    def reasons(self) -> Sequence[str]:
        """Why not, in words; empty when requests would be served."""
        asked = (
            DRAINING if self.drain.draining else None,
            self.no_miner(),
            self.recorder.failure,
            self.admission.key_failure,
        )
        return [reason for reason in asked if reason]

    def troubles(self) -> dict[str, str]:
        """What is wrong, in words by subject, for the operator; draining is not."""
        found = {
            "miners": self.no_miner(),
            "records": self.recorder.failure,
            "keys": self.admission.key_failure,
            "metagraph": self.discovery.chain_error,
        }
        return {subject: words for subject, words in found.items() if words}

    def no_miner(self) -> str | None:
        """Why no miner can be called, in words; None when one can."""
        if any(miner.callable for miner in self.table.all()):
            return None
        if self.discovery.list_age_s() is None:
            why = self.discovery.chain_error or "it is being asked for"
            return f"the list of miners has not been read: {why}"
        return f"none of the {len(self.table.all())} miners on the list can be called; /health says why not"


@dataclass(frozen=True)
class Health:
    """Collects the gateway's state from its parts."""

    model: str
    gateway_hotkey: str
    table: MinerTable
    discovery: Discovery
    recorder: Recorder
    readiness: Readiness

    def report(self) -> dict[str, Any]:
        """The answer to GET /health; `status` is "ok" when a request could be served now."""
        miners = self.table.statuses()
        reasons = self.readiness.reasons()
        age_s = self.discovery.list_age_s()
        return {
            "status": "degraded" if reasons else "ok",
            "reasons": reasons,
            "model": self.model,
            "hotkey": self.gateway_hotkey,
            "miners_known": len(miners),
            "miners_callable": sum(miner["callable"] for miner in miners),
            "miners": miners,
            "metagraph_age_s": None if age_s is None else round(age_s, 1),
            "metagraph_error": self.discovery.chain_error,
            "recording_error": self.recorder.failure,
        }
