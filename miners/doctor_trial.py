"""Would this miner pass? The auditor's own program audits it, with its own hotkey, and tells the margins.

The program (`python -m validator.trial`) runs as a process of its own, so that the reference model's memory
is free again afterwards, and so that nothing of the auditor is imported here.
"""

import asyncio
import json
import sys
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from shared.diagnosis import Finding, bad, note, ok

PROJECT_ROOT = Path(__file__).resolve().parent.parent
DEADLINE_S = 1800.0
"""Loading a 7B model on a CPU and auditing a few answers takes minutes, not half an hour."""

SUBJECT = "trial"

RUN_CURE = "run it again alone, with the miner's flags: python -m miners.doctor --trials 1"


@dataclass(frozen=True)
class TrialEnd:
    """What the program printed: a JSON object for each audit, its exit status, its last words."""

    audits: Sequence[Mapping[str, Any]]
    status: int
    last_words: str = ""


RunTrial = Callable[[Sequence[str]], Awaitable[TrialEnd]]


async def run_trial(flags: Sequence[str]) -> TrialEnd:
    """Run the auditor's program with these flags."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "validator.trial", *flags),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        cwd=PROJECT_ROOT,
    )
    try:
        out, err = await asyncio.wait_for(process.communicate(), DEADLINE_S)
    except TimeoutError:
        process.kill()
        await process.wait()
        return TrialEnd([], 1, f"it took more than {DEADLINE_S:g} s")
    lines = err.decode(errors="replace").strip().splitlines()
    audits = [json.loads(line) for line in out.splitlines()]
    return TrialEnd(audits, process.returncode or 0, lines[-1] if lines else "it said nothing")


def judge_trial(end: TrialEnd) -> Sequence[Finding]:
    """The outcome of each audit, then how far each statistic stayed from its limit."""
    found = [_judge_audit(audit["verdict"]) for audit in end.audits]
    if end.status != 0:
        found.append(bad(SUBJECT, f"the trial audits broke off: {end.last_words}", RUN_CURE))
    margins = _margins(end.audits)
    return [*found, ok(SUBJECT, margins)] if margins else found


def _judge_audit(verdict: Mapping[str, Any]) -> Finding:
    tokens = verdict.get("tokens") or {}
    counted = (
        f"; {tokens['exact']} of {tokens['checked']} tokens as the reference draws them" if tokens else ""
    )
    if verdict["outcome"] == "pass":
        return ok(SUBJECT, f"an audit passes: {verdict['reason']}{counted}")
    if verdict["outcome"] == "inconclusive":
        return note(SUBJECT, f"an audit could not be carried out: {verdict['reason']}")
    cure = CURES.get(verdict["check"], "see docs/PROTOCOL.md, “Audits”")
    return bad(SUBJECT, f"an audit fails ({verdict['check']}): {verdict['reason']}", cure)


CURES: Mapping[str, str] = {
    "receipt": "serve with this project's miner and the network's calibration file; no proxy may edit bodies",
    "prompt": "serve the model's own chat template: no --chat-template, no edited tokenizer_config.json",
    "answer": "see the miner's log for why it did not answer; commitments outlive restarts in --state-dir",
    "opening": "see that nothing else writes into --state-dir, and that one engine serves and answers",
    "sketch": "serve the exact weights: no --quantization, no fp8 --kv-cache-dtype, --dtype auto; then try "
    "--enforce-eager, which tells a wrong kernel",
    "replay": "answer challenges with the engine that serves; no load balancer over several engines",
    "tokens": "no --generation-config, no --override-generation-config, no logits processors; update vLLM to "
    "the pinned version",
    "text": "no --reasoning-parser and no proxy that edits answers",
}
"""What to do about each check that can fail."""


def _margins(audits: Sequence[Mapping[str, Any]]) -> str:
    """The lowest p-value of each statistic over all audits, beside the limit."""
    lowest: dict[str, float] = {}
    limit = 0.0
    for audit in audits:
        limit = audit["fail_p_value"]
        for one in audit["verdict"]["evidence"]:
            lowest[one["statistic"]] = min(one["p_value"], lowest.get(one["statistic"], 1.0))
    words = ", ".join(f"{name} p = {p_value:.2g}" for name, p_value in lowest.items())
    return f"lowest of {len(audits)} audits: {words}; an audit fails below {limit:g}" if lowest else ""
