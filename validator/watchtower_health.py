"""Whether a watchtower works, by the heartbeat that it wrote: `python validator/watchtower.py --health`."""

from collections.abc import Iterator
from pathlib import Path

from validator.heartbeat import FILE_NAME, Heartbeat, read_heartbeat

SILENCE_MS = 15 * 60_000
"""A part that is late by more has stopped: a look may read many files, a step waits for inclusion."""

PATIENCE_MS = 15 * 60_000
"""A source or a chain that is away for less is no reason to call anybody."""

UNSET_MS = 3 * 3_600_000
"""Weights wait for the chain's rate limit, and are sent again when they fail; longer than this is wrong."""

CLOCK_MS = 5 * 60_000
"""A heartbeat from so far in the future means that the clock was set back."""


def health(folder: Path, now_ms: int) -> tuple[bool, str]:
    """Whether the watchtower with this state folder works, and why, in one line."""
    heartbeat = read_heartbeat(folder)
    if heartbeat is None:
        return False, (
            f"no sign of life: there is no readable {FILE_NAME} in {folder}. The watchtower has not started, "
            "can't write there, or runs with another --state-dir"
        )
    complaints = list(_complaints(heartbeat, now_ms))
    return not complaints, "; ".join(complaints) or _well(heartbeat, now_ms)


def _complaints(heartbeat: Heartbeat, now_ms: int) -> Iterator[str]:
    looked_ms, stepped_ms = now_ms - heartbeat.looked_at_ms, now_ms - heartbeat.stepped_at_ms
    if min(looked_ms, stepped_ms) < -CLOCK_MS:
        ahead = _ago(-min(looked_ms, stepped_ms))
        yield f"the heartbeat is {ahead} in the future: set this machine's clock, then restart"
        return
    late_ms = heartbeat.poll_seconds * 1000 + SILENCE_MS
    for duty, ago_ms in (("looked for epochs", looked_ms), ("looked after weights", stepped_ms)):
        if ago_ms > late_ms:
            yield f"stale: it last {duty} {_ago(ago_ms)} ago. It has stopped or hangs: restart it"
    for subject, (words, since_ms) in (heartbeat.troubles or {}).items():
        if now_ms - since_ms > PATIENCE_MS:
            yield f"{subject}, for {_ago(now_ms - since_ms)}: {words}"
    unset_ms = now_ms - heartbeat.settled_at_ms
    if unset_ms > UNSET_MS:
        yield f"no weights have reached the chain for {_ago(unset_ms)}: {heartbeat.weights}"


def _well(heartbeat: Heartbeat, now_ms: int) -> str:
    revision = f" (revision {heartbeat.revision})" if heartbeat.revision else ""
    epoch = "waits for the first epoch" if heartbeat.epoch is None else f"follows epoch {heartbeat.epoch}"
    passing = "".join(
        f"; for the moment {name}: {words}" for name, (words, _) in (heartbeat.troubles or {}).items()
    )
    looked = _ago(max(0, now_ms - heartbeat.looked_at_ms))
    return f"well{revision}: {epoch} of {heartbeat.source}, looked {looked} ago; {heartbeat.weights}{passing}"


def _ago(ms: float) -> str:
    minutes = round(ms / 60_000)
    if ms < 120_000:
        return f"{round(ms / 1000)} s"
    return f"{minutes} min" if minutes < 120 else f"{ms / 3_600_000:.1f} h"
