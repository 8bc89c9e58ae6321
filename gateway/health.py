"""What GET /health says: whether the gateway can serve, and why not."""

from dataclasses import dataclass
from typing import Any

from gateway.discovery import Discovery
from gateway.miners import MinerTable
from gateway.recording import Recorder


@dataclass(frozen=True)
class Health:
    """Collects the gateway's state from its parts."""

    model: str
    gateway_hotkey: str
    table: MinerTable
    discovery: Discovery
    recorder: Recorder

    def report(self) -> dict[str, Any]:
        """The answer to GET /health; `status` is "ok" when a request could be served now."""
        miners = self.table.statuses()
        callable_count = sum(miner["callable"] for miner in miners)
        serving = callable_count > 0 and self.recorder.failure is None
        age_s = self.discovery.list_age_s()
        return {
            "status": "ok" if serving else "degraded",
            "model": self.model,
            "hotkey": self.gateway_hotkey,
            "miners_known": len(miners),
            "miners_callable": callable_count,
            "miners": miners,
            "metagraph_age_s": None if age_s is None else round(age_s, 1),
            "metagraph_error": self.discovery.chain_error,
            "recording_error": self.recorder.failure,
        }
