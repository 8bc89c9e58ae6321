"""What keeping commitments on disk costs a miner, beside keeping them in memory alone.

    python -m bench.commitment_disk [--folder FOLDER] [--rounds N] [--layers N]

Both stores are given the same commitments in turn, of requests of 128 prompt and 256 output tokens; then the
disk's is read as after a restart. CPU time is the process's; the share of a core is at 200 tokens a second.
"""

import argparse
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

from miners.commitment_log import CommitmentLog
from miners.commitment_store import CommitmentStore
from shared.commitments import ChoiceShape, Commitment
from shared.sketches import SKETCH_BYTES

PROMPT_TOKENS, OUTPUT_TOKENS = 128, 256
SERVED_TOKENS_A_SECOND = 200
WINDOW_S = 7800.0
LIMIT_BYTES = 4 << 30

Given = TypeVar("Given")


@dataclass(frozen=True)
class DiskCost:
    """Medians of one commitment's cost, and what the disk holds."""

    memory_us: float
    disk_us: float
    bytes_a_token: float
    restore_mib_a_second: float

    @property
    def share_of_a_core(self) -> float:
        """CPU time that the disk adds at `SERVED_TOKENS_A_SECOND`."""
        return (self.disk_us - self.memory_us) * 1e-6 * SERVED_TOKENS_A_SECOND / OUTPUT_TOKENS


def example(layers: int) -> Commitment:
    """A commitment as a request without a cached prefix leaves it."""
    shape = ChoiceShape(0, PROMPT_TOKENS, OUTPUT_TOKENS, 0)
    bare = Commitment("request", layers, (shape,), {0: range(PROMPT_TOKENS + OUTPUT_TOKENS)}, b"")
    return replace(bare, sketches=b"\x5a" * (SKETCH_BYTES * len(bare.points())))


def measure(folder: Path, rounds: int, layers: int) -> DiskCost:
    """Add in turn to a store in memory and to one on disk in `folder`, then restore the latter."""
    log = CommitmentLog(folder, "bench", WINDOW_S, time.time)
    in_memory = CommitmentStore(LIMIT_BYTES, WINDOW_S, time.monotonic)
    on_disk = CommitmentStore(LIMIT_BYTES, WINDOW_S, time.monotonic, log)
    one = example(layers)
    memory_us: list[float] = []
    disk_us: list[float] = []
    for number in range(rounds):
        commitment = replace(one, request_id=f"request-{number}")
        memory_us.append(_cpu_us(in_memory.add, commitment))
        disk_us.append(_cpu_us(on_disk.add, commitment))
    log.close()
    size = sum(file.stat().st_size for file in folder.glob("commitments-*.log"))
    return DiskCost(
        memory_us=statistics.median(memory_us),
        disk_us=statistics.median(disk_us),
        bytes_a_token=size / rounds / (PROMPT_TOKENS + OUTPUT_TOKENS),
        restore_mib_a_second=size / (1 << 20) / (_cpu_us(_restore, folder) * 1e-6),
    )


def _restore(folder: Path) -> None:
    log = CommitmentLog(folder, "bench", WINDOW_S, time.time)
    CommitmentStore(LIMIT_BYTES, WINDOW_S, time.monotonic, log).restore()
    log.close()


def _cpu_us(work: Callable[[Given], object], given: Given) -> float:
    start_ns = time.process_time_ns()
    work(given)
    return (time.process_time_ns() - start_ns) / 1000


def main() -> int:
    """Print the costs."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--folder", type=Path, help="where to write (default: the temporary folder's disk)")
    parser.add_argument("--rounds", type=int, default=300, help="commitments to add")
    parser.add_argument("--layers", type=int, default=28, help="layers of the model; 28 are Qwen2.5-7B's")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=args.folder) as folder:
        cost = measure(Path(folder), args.rounds, args.layers)
    print(f"in memory alone     {cost.memory_us:8.1f} µs a commitment")
    print(f"and on disk         {cost.disk_us:8.1f} µs a commitment")
    print(f"at {SERVED_TOKENS_A_SECOND} tokens/s     {cost.share_of_a_core:8.3%} of a core")
    print(f"size on disk        {cost.bytes_a_token:8.1f} bytes a token")
    print(f"read at the start   {cost.restore_mib_a_second:8.0f} MiB a second of CPU")
    return 0


if __name__ == "__main__":
    sys.exit(main())
