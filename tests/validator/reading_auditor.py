"""Reads a record log into a state, batch by batch: `reading_auditor.py RECORDS DATABASE`."""

import sys
from pathlib import Path

sys.path[0] = str(Path(__file__).resolve().parents[2])

from shared.record_log import RecordReader  # noqa: E402
from validator.database import Database  # noqa: E402
from validator.record_follower import RecordFollower  # noqa: E402
from validator.request_state import RequestState  # noqa: E402

if __name__ == "__main__":
    state = RequestState(Database(sys.argv[2]))
    follower = RecordFollower(RecordReader(Path(sys.argv[1])), "log", state)
    while follower.follow():
        print("batch", flush=True)
