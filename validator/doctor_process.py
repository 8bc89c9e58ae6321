"""What the running auditor says of itself, and whether what it reads and writes can be reached."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from shared.diagnosis import Finding, bad, note, ok, warn
from shared.diagnosis_http import HealthAnswer
from shared.errors import ConfigError, MalformedMessage, SignatureMismatch, StoreError
from shared.object_store import ObjectReader
from shared.record_log import Cursor, RecordReader
from validator.publishing import last_published

CHAIN_LAG_WARN_S = 120.0
"""Ten blocks: audits wait for the block after a request, and weights for their turn."""

RUNBOOKS = "docs/RUNBOOKS.md"


def judge_health(answer: HealthAnswer, hotkey: str | None) -> Sequence[Finding]:
    """The running auditor's own troubles."""
    if answer.body is None:
        return [note("process", f"no auditor answers on the port: {answer.failure}")]
    if not answer.is_of(hotkey):
        return []
    body = answer.body
    troubles = [
        bad(
            "process", f"it reports trouble with {subject}: {words}", f"see {RUNBOOKS}, and the auditor's log"
        )
        for subject, words in body.get("troubles", {}).items()
    ]
    found = [*troubles, *_lag(body), *_waiting(body)]
    if all(one.well for one in found):
        found.insert(0, ok("process", f"the auditor runs, in epoch {body.get('epoch')}"))
    return found


def _lag(body: Mapping[str, Any]) -> Sequence[Finding]:
    lag_ms = body.get("chain_lag_ms")
    if lag_ms is None or lag_ms / 1000 <= CHAIN_LAG_WARN_S:
        return []
    words = f"the newest block that the auditor knows is {lag_ms / 1000:.0f} s old"
    return [warn("process", words, f"see {RUNBOOKS}, “The chain is stuck or away”")]


def _waiting(body: Mapping[str, Any]) -> Sequence[Finding]:
    """Weights that wait, and why; whether they wait too long is told by those on chain."""
    weights = body.get("weights") or {}
    if weights.get("state") not in ("pending", "sending"):
        return []
    words = f"the weights of epoch {weights.get('epoch')} wait: {weights.get('detail')}"
    return [note("process", words)]


def check_records(place: str) -> Finding:
    """Whether a gateway's record log can be read: a folder, or a gateway's URL, which only says so when it is
    asked by the auditor's own hotkey. Blocks."""
    if place.startswith(("http://", "https://")):
        words = f"records are read from {place}; whether it gives them, the auditor says in /health"
        return note("records", words)
    folder = Path(place).expanduser()
    same = "start the gateway with the same --state-dir, or name its record log with --records"
    if not folder.is_dir():
        return warn("records", f"there is no record log at {folder} yet, so there is nothing to audit", same)
    reader = RecordReader(folder)
    readers = [reader, *reader.workers().values()]
    try:
        newest = [(one, one.newest_segment()) for one in readers]
        for one, segment in newest:
            if segment is not None:
                one.read(Cursor(segment), 1)
    except PermissionError as error:
        cure = f"let the auditor's user read it: chmod -R g+rX {folder}, or run both as one user"
        return bad("records", f"{error.filename or folder} can't be read", cure)
    logs = sum(segment is not None for _, segment in newest)
    if not logs:
        return warn("records", f"{folder} holds no record yet, so there is nothing to audit", same)
    return ok("records", f"{logs} record log{'s' * (logs > 1)} in {folder}")


def check_store(store: ObjectReader, location: str, hotkey: str | None) -> Finding:
    """Whether the store answers, and is this auditor's. Blocks."""
    cure = "try it in depth, with a write: python -m validator.publish check, with the auditor's flags"
    try:
        found = last_published(store, hotkey or "")
    except StoreError as error:
        return bad("store", f"{location}: {error}", cure)
    except (ConfigError, MalformedMessage, SignatureMismatch) as error:
        words = f"{location} holds what this hotkey can't go on from: {error}"
        return bad(
            "store", words, "name another folder or prefix with --store, or use the hotkey of that one"
        )
    newest = "is empty" if found is None else f"ends with epoch {found[0]}"
    return ok("store", f"{location} can be read and {newest}")
