"""One of several auditors, as a process: `one_of_several.py FOLDER NAME DATABASE [TRAP SIGNAL]`.

Its chain is a folder, so that all see the same one, and its clock the newest block's. Its audits wait while
there is a file `hold`. With a trap, as `EpochState.save_scored`, it sends itself the signal the first
time that it gets there.
"""

import asyncio
import os
import signal
import sys
from pathlib import Path
from typing import Any

sys.path[0] = str(Path(__file__).resolve().parents[2])

from shared.chain import Block  # noqa: E402
from shared.logs import set_up_logs  # noqa: E402
from shared.records import RequestRecord  # noqa: E402
from tests.validator.auditor_examples import AUDITOR, CHEAT, ExampleAuditor, block_number  # noqa: E402
from tests.validator.folder_chain import FolderChain  # noqa: E402
from validator import epoch_state  # noqa: E402
from validator.audit_config import AuditConfig  # noqa: E402
from validator.audit_process import AuditValidator, open_database  # noqa: E402
from validator.audit_report import AuditReport  # noqa: E402
from validator.epoch_state import EpochState  # noqa: E402
from validator.leadership import LeaseTimes  # noqa: E402
from validator.status_server import listen  # noqa: E402
from validator.supervision import stop_on_signals  # noqa: E402
from validator.surroundings import Pauses, Surroundings  # noqa: E402
from validator.weight_state import WeightQueue  # noqa: E402

BRISK = Pauses(0.05, 0.05, 0.05, 0.05, 0.2, 0.3)
SHORT = LeaseTimes(lasts_s=2.0, renewed_s=0.3, audits_s=3.0)
TRAPPED: dict[str, Any] = {"EpochState": EpochState, "WeightQueue": WeightQueue, "epoch_state": epoch_state}


class HeldAuditor(ExampleAuditor):
    """Notes in a file what it audits."""

    def __init__(self, folder: Path, name: str) -> None:
        super().__init__({CHEAT.ss58_address: "fail"})
        self._hold, self._audited = folder / "hold", folder / f"{name}.audited"

    async def audit(self, record: RequestRecord, axon: str, block: Block) -> AuditReport:
        with self._audited.open("a") as log:
            log.write(f"{record.request_id} {record.miner_hotkey}\n")
        while self._hold.exists():
            await asyncio.sleep(0.02)
        return await super().audit(record, axon, block)


def set_trap(trap: str, number: int) -> None:
    """Have the process send itself a signal when it first calls a method."""
    owner, method = trap.split(".")
    original = getattr(TRAPPED[owner], method)

    def trapped(*args: Any, **kwargs: Any) -> Any:
        setattr(TRAPPED[owner], method, original)
        os.kill(os.getpid(), number)
        return original(*args, **kwargs)

    setattr(TRAPPED[owner], method, trapped)


async def run(folder: Path, name: str, database_url: str) -> int:
    config = AuditConfig(
        state_dir=folder / name,
        records=(str(folder / "records"),),
        database=database_url,
        store=str(folder / "store"),
        auditor_name=name,
        epoch_seconds=60.0,
        metagraph_seconds=1.0,
    )
    chain, calibration = FolderChain(folder / "chain"), folder / "calibration"
    around = Surroundings(
        AUDITOR,
        chain,
        HeldAuditor(folder, name),
        "tiny",
        calibration,
        lambda: block_number(chain.height_now()).timestamp_ms,
        BRISK,
        SHORT,
    )
    stop = asyncio.Event()
    stop_on_signals(stop)
    database = open_database(config)
    with listen("127.0.0.1", 0) as listener:
        print(listener.getsockname()[1], flush=True)
        clean = await AuditValidator(config, around, database).run(stop, listener)
    database.close()
    return 0 if clean else 1


if __name__ == "__main__":
    set_up_logs()
    if len(sys.argv) > 4:
        set_trap(sys.argv[4], getattr(signal, sys.argv[5]))
    raise SystemExit(asyncio.run(run(Path(sys.argv[1]), sys.argv[2], sys.argv[3])))
