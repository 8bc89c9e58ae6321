"""A miner that is killed while it writes: whatever it signed for is there afterwards."""

import subprocess
import sys
from pathlib import Path

import pytest

from localnet.config import PROJECT_ROOT
from miners.commitment_log import CommitmentLog
from miners.commitment_store import CommitmentStore
from tests.shared.receipt_examples import example_commitment

WRITER = """
import sys
from pathlib import Path
from itertools import count
from dataclasses import replace
from miners.commitment_log import CommitmentLog
from miners.commitment_store import CommitmentStore
from tests.shared.receipt_examples import example_commitment

disk = CommitmentLog(Path(sys.argv[1]), "5Miner", 900.0, lambda: 1000.0, segment_bytes=1 << 20)
store = CommitmentStore(1 << 30, 7200.0, lambda: 0.0, disk)
store.restore()
example = example_commitment()
print("begun", len(store), flush=True)
for number in count(int(sys.argv[2])):
    store.add(replace(example, request_id=f"request-{number}"))
    print(number, flush=True)
"""
"""Prints a number when its commitment was added, as a miner sends the receipt then."""


def written_until_killed(folder: Path, first: int, kill_after: int) -> tuple[int, list[int]]:
    """How many commitments a writer found, and of which it sent receipts until it was killed."""
    command = [sys.executable, "-c", WRITER, str(folder), str(first)]
    with subprocess.Popen(command, cwd=PROJECT_ROOT, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        found = int(process.stdout.readline().split()[1])
        for _ in range(kill_after):
            process.stdout.readline()
        process.kill()
        # What it printed meanwhile counts too; a last line without an end was not sent.
        rest = [line for line in process.stdout if line.endswith("\n")]
    return found, list(range(first, first + kill_after + len(rest)))


@pytest.mark.parametrize("kill_after", [1, 60])
def test_every_commitment_whose_receipt_left_is_there_after_kill_9(tmp_path: Path, kill_after: int) -> None:
    found, first = written_until_killed(tmp_path, 0, kill_after)
    assert found == 0
    found, second = written_until_killed(tmp_path, 1_000_000, kill_after)
    assert found in (len(first), len(first) + 1), "one more may have been written, its receipt not yet sent"
    disk = CommitmentLog(tmp_path, "5Miner", 900.0, lambda: 1060.0)
    store = CommitmentStore(1 << 30, 7200.0, lambda: 0.0, disk)
    store.restore()
    sketches = example_commitment().sketches
    for number in first + second:
        commitment = store.get(f"request-{number}")
        assert commitment is not None, f"the receipt of {number} was sent"
        assert commitment.sketches == sketches
    disk.close()
