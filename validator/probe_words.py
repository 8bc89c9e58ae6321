"""What probes found about a miner, in words that it can act on."""

from collections.abc import Iterable

from validator.cache_probe import FEWEST_CLAIMS
from validator.probe_findings import ProbeFindings
from validator.repeated_commitments import RepeatedCommitment


def copy_words(copy: RepeatedCommitment) -> str:
    """Why a copied commitment earns nothing."""
    return (
        f"its receipt for {copy.request_id} repeats the commitment of {copy.copied_request}, which is over "
        "other positions or another prompt: no honest computation does"
    )


def probe_remarks(probes: ProbeFindings, hotkey: str) -> Iterable[str]:
    """Remarks on a miner that earns; none when there is nothing to say."""
    shared, slow, cache = probes.machine_of(hotkey), probes.slow_of(hotkey), probes.cache_of(hotkey)
    if shared is not None:
        yield (
            f"these {len(shared.hotkeys)} hotkeys are slower when they are asked at the same time, as one "
            f"machine is: {', '.join(shared.hotkeys)}; each is paid for {shared.factor * 100:.0f} % of "
            "its speed; give each a machine of its own"
        )
    if slow is not None:
        yield (
            f"when all miners are asked at once it has {slow.factor * 100:.0f} % of its speed (slow in "
            f"{slow.slow} of {slow.rounds} such rounds) and is paid for that: let nobody else use its "
            "machine or its network"
        )
    if cache is not None and cache.unexplained and cache.claims >= FEWEST_CLAIMS:
        yield (
            f"{cache.unexplained} of {cache.claims} receipts claim more cached tokens than this gateway has "
            "seen it serve: that is right only if it serves other gateways too"
        )
