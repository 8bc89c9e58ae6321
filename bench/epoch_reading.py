"""What following an epoch costs a gateway: seconds, CPU-seconds, memory, and how long its event loop waits.

    python -m bench.epoch_reading [--records 100000] [--verdicts 2000] [--miners 64]

One process writes the epoch, as large as is said, all requests the gateway's own. Another reads it in a
thread, as the gateway does, while its event loop asks for its turn every millisecond.
"""

import argparse
import asyncio
import json
import resource
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from bench.plain_table import plain

NETUID = 97
EPOCH_MS = 1_500_000
TICK_S = 0.001
IDLE_S = 5.0
"""For which the loop is watched before anything is read: what other programs on the machine do to it."""


@dataclass(frozen=True)
class Measured:
    """What reading cost; times in seconds, memory in MiB above what the process had before."""

    read_s: float
    store_s: float
    cpu_s: float
    memory_mib: float
    longest_wait_ms: float
    waits_over_20_ms: int
    longest_idle_wait_ms: float
    requests: int
    database_mib: float


def write_epoch(folder: Path, records: int, verdicts: int, miners: int) -> None:
    """Publish one epoch into a folder."""
    from bittensor.sp_core import Keypair

    from shared.canonical import canonical_json, sha256_hex
    from shared.dataset import manifest_key
    from shared.object_store import FolderStore
    from tests.validator.auditor_examples import START_MS, block_number, example_record, example_verdict
    from validator.epoch_tables import EpochContents, epoch_files, records_root
    from validator.manifest import manifest_bytes
    from validator.request_facts import facts_of

    keys = [Keypair.create_from_uri(f"//Miner{number}") for number in range(miners)]
    made = [
        example_record(number, keys[number % miners], number % miners, finished_at_ms=START_MS + number)
        for number in range(records)
    ]
    facts = [facts_of(record, None, 1) for record in made]
    judged = [example_verdict(record, block_number(1)) for record in made[:verdicts]]
    files = epoch_files(EpochContents(facts, [], [], judged, [], [], []), "2026-01-01", 1)
    root = records_root(facts)
    manifest = manifest_bytes(1, "2026-01-01", [file.digest for file in files], records, root, "bench")
    store, auditor = FolderStore(folder), Keypair.create_from_uri("//Auditor")
    for file in files:
        store.put(file.digest.key, file.data)
    store.put(manifest_key(1), manifest)
    summary = {
        "version": "epoch/5",
        "netuid": NETUID,
        "model": "bench",
        "epoch": 1,
        "publisher": auditor.ss58_address,
        "opened_at_ms": START_MS,
        "closed_at_ms": START_MS + EPOCH_MS,
        "block": 1,
        "previous_digest": None,
        "files": [file.digest.model_dump(mode="json") for file in files],
        "manifest_sha256": sha256_hex(manifest),
        "records": records,
        "records_root": root,
        "scoring": {"reject_log_evidence": 10.0},
        "scores": [],
        "weights": [],
        "history_after": [],
    }
    signature = auditor.sign(b"constantinople/epoch/1\x00" + canonical_json(summary))
    data = canonical_json(summary | {"signature": "0x" + bytes(signature).hex()})
    store.put("epochs/1.json", data)
    store.put("epochs/latest.json", canonical_json({"epoch": 1, "digest": sha256_hex(data)}))


async def read_epoch(folder: Path, state: Path) -> Measured:
    """Read it as the gateway does."""
    from gateway.epoch_store import EpochStore
    from gateway.published_epochs import PublishedEpochs
    from gateway.published_tables import load_reader
    from gateway.receipt_database import open_receipt_database
    from shared.object_store import FolderStore
    from tests.validator.auditor_examples import GATEWAY

    load_reader()
    database = open_receipt_database(state)
    published, store = PublishedEpochs(FolderStore(folder), NETUID), EpochStore(database)
    pointer = published.pointer()
    assert pointer is not None
    waits: list[float] = []
    ticking = asyncio.create_task(_tick(waits))
    await asyncio.sleep(IDLE_S)
    idle_ms = max(waits) * 1000
    waits.clear()
    before_mib, cpu_s, began_s = _peak_mib(), time.process_time(), time.perf_counter()
    found = await asyncio.to_thread(published.summary, pointer.epoch, pointer.digest)
    findings = await asyncio.to_thread(published.findings, found.summary, GATEWAY.ss58_address)
    read_s = time.perf_counter() - began_s
    await asyncio.to_thread(store.add, found, findings)
    whole_s, spent_s = time.perf_counter() - began_s, time.process_time() - cpu_s
    ticking.cancel()
    database.close()
    size = await asyncio.to_thread(_bytes_in, state)
    return Measured(
        read_s,
        whole_s - read_s,
        spent_s,
        _peak_mib() - before_mib,
        max(waits) * 1000,
        sum(wait > 0.02 for wait in waits),
        idle_ms,
        len(findings.own),
        size / (1 << 20),
    )


def _bytes_in(folder: Path) -> int:
    return sum(file.stat().st_size for file in folder.iterdir())


async def _tick(waits: list[float]) -> None:
    """Note by how much each millisecond of sleep is late."""
    while True:
        asked_s = time.perf_counter()
        await asyncio.sleep(TICK_S)
        waits.append(time.perf_counter() - asked_s - TICK_S)


def _peak_mib() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.epoch_reading", description=__doc__)
    parser.add_argument("--records", type=int, default=100_000)
    parser.add_argument("--verdicts", type=int, default=2_000)
    parser.add_argument("--miners", type=int, default=64)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--write", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.write is not None:
        write_epoch(args.write, args.records, args.verdicts, args.miners)
        return 0
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        sizes = ("--records", args.records, "--verdicts", args.verdicts, "--miners", args.miners)
        command = [sys.executable, "-m", "bench.epoch_reading", "--write", folder / "store", *sizes]
        subprocess.run([str(part) for part in command], check=True)
        measured = asyncio.run(read_epoch(folder / "store", folder / "state"))
    if args.json:
        print(json.dumps(vars(measured)))
    else:
        print(plain(["what", "value"], [[name, f"{value:.4g}"] for name, value in vars(measured).items()]))
    return 0


if __name__ == "__main__":
    sys.exit(main())
