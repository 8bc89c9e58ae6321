"""What probes found about a miner, in words that it can act on."""

from collections.abc import Iterable

from validator.cache_probe import FEWEST_CLAIMS
from validator.full_rounds import WorkDone
from validator.probe_findings import ProbeFindings
from validator.repeated_commitments import RepeatedCommitment

SLOWER = 0.8
"""Below so much of its usual rate a miner is told: luck takes the two of one with 25 answers of its own some
8 % apart (standard deviation), and `bench.incentives` prints how often it is told."""


def copy_words(copy: RepeatedCommitment) -> str:
    """Why a copied commitment earns nothing."""
    return (
        f"its receipt for {copy.request_id} repeats the commitment of {copy.copied_request}, which is over "
        "other positions or another prompt: no honest computation does"
    )


def is_slower(work: WorkDone) -> bool:
    """Whether a miner does much less while everybody is asked than it usually does."""
    return work.usual is not None and work.rate < SLOWER * work.usual


def idle_words(work: WorkDone | None) -> str:
    """Why a miner without work in full rounds earns nothing."""
    if work is None:
        return (
            "no round that asks all miners has asked it yet: it is paid from the first one on, which comes "
            "within minutes while it can be reached"
        )
    return (
        f"while all miners were asked for {work.asked_ms / 1000:.0f} s it finished no answer in time: look "
        "for failed requests, and let nobody else use its machine or its network"
    )


def _work_words(work: WorkDone) -> Iterable[str]:
    """What a miner was paid for, where that is much less than what it usually does."""
    if work.usual and is_slower(work):
        yield (
            f"while all miners were asked for {work.asked_ms / 1000:.0f} s it did "
            f"{work.rate / work.usual * 100:.0f} % of what it usually does in such a time, and is paid for "
            "that: let nobody else use its machine or its network"
        )


def probe_remarks(probes: ProbeFindings, hotkey: str) -> Iterable[str]:
    """Remarks on a miner that earns; none when there is nothing to say."""
    work, shared, cache = probes.work_of(hotkey), probes.machine_of(hotkey), probes.cache_of(hotkey)
    if work is not None:
        yield from _work_words(work)
    if shared is not None:
        yield (
            f"these {len(shared.hotkeys)} hotkeys are slower when they are asked at the same time, as "
            f"{shared.machines:.1f} machines are: {', '.join(shared.hotkeys)}; give each a machine of its own"
        )
    if cache is not None and cache.unexplained and cache.claims >= FEWEST_CLAIMS:
        yield (
            f"{cache.unexplained} of {cache.claims} receipts claim more cached tokens than this gateway has "
            "seen it serve: that is right only if it serves other gateways too"
        )
