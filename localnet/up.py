"""`up`: the whole subnet, from nothing to a leaderboard, and down again."""

import asyncio
import json
import random
import signal
import sys
import time
from dataclasses import dataclass, field, replace
from functools import cached_property

from localnet.children import Children
from localnet.commands import NETUID, database
from localnet.config import PROJECT_ROOT, LocalnetConfig
from localnet.errors import LocalnetError
from localnet.leaderboard import (
    AuditorShares,
    Epoch,
    read_epoch,
    read_latest,
    read_summary,
    render,
    shortcomings,
)
from localnet.preflight import available_memory_gib, check_compiler, check_disk, check_memory, check_ports
from localnet.readiness import get_json, wait_until
from localnet.roles import ROLES
from localnet.subnet import Subnet, prepare, start
from localnet.traffic import TrafficCount, chat_requests, send_traffic
from shared.chain import Chain, SubtensorChain
from shared.errors import ChainUnavailable, ObjectMissing
from shared.model_identity import public_model_name
from shared.object_store import ObjectReader, open_reader
from validator.epoch_summary import EpochSummary

CLOSING_GRACE_S = 240.0
"""From the end of an epoch until its summary is published: audits that are still running are waited for."""

WEIGHTS_DEADLINE_S = 120.0


def say(text: str) -> None:
    """Progress goes to standard error, so that standard output holds nothing but the result."""
    print(f"{time.strftime('%H:%M:%S')}  {text}", file=sys.stderr, flush=True)


@dataclass
class Run:
    """One run of the subnet and what it has shown so far."""

    config: LocalnetConfig
    subnet: Subnet
    children: Children
    chain: Chain
    epochs: list[Epoch] = field(default_factory=list)

    @cached_property
    def store(self) -> ObjectReader:
        return open_reader(self.config.store_location, self.config.store_endpoint)

    @property
    def roles(self) -> dict[str, str]:
        return {miner.party.hotkey: miner.role.name for miner in self.subnet.miners}


async def run_subnet(config: LocalnetConfig) -> int:
    """Bring the subnet up, show what it does, stay up if asked, and take it down.

    Returns:
        0 when every epoch showed what it should, 1 otherwise.

    Raises:
        LocalnetError: it could not start, or a process died.
    """
    check_compiler()
    check_disk(config.folder)
    check_memory(len(config.miners), available_memory_gib(), config.auditors)
    check_ports(config.ports())
    database(config)
    subnet = prepare(config, say)
    children = Children(config.run_folder / "logs", PROJECT_ROOT)
    run = Run(config, subnet, children, SubtensorChain(config.chain_url, NETUID))
    interrupted = _interruption()
    work = asyncio.create_task(_work(run, interrupted))
    stopping = asyncio.create_task(interrupted.wait())
    try:
        await asyncio.wait((work, stopping), return_when=asyncio.FIRST_COMPLETED)
        return work.result() if work.done() else 0
    finally:
        say("stopping every process")
        for task in (work, stopping):
            task.cancel()
        await asyncio.gather(work, stopping, return_exceptions=True)
        await run.chain.close()
        await children.stop_all()
        say("all stopped")


def _interruption() -> asyncio.Event:
    event = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, event.set)
    return event


async def _work(run: Run, interrupted: asyncio.Event) -> int:
    config = run.config
    say(f"logs and state are in {config.run_folder}")
    await start(config, run.subnet, run.children, say)
    say(f"the API is up at {config.gateway_url}/v1")
    for _ in range(max(config.epochs, 1)):
        await _one_epoch(run)
    complaints = [text for epoch in run.epochs for text in shortcomings(epoch, _honest_roles())]
    if config.json:
        print(json.dumps({"epochs": [epoch.as_json() for epoch in run.epochs]}), flush=True)
    for complaint in complaints:
        say(complaint)
    if not config.epochs:
        say(_how_to_call(config, public_model_name(str(run.subnet.model))))
        await _stay_up(run, interrupted)
    return 1 if complaints else 0


def _honest_roles() -> frozenset[str]:
    return frozenset(role.name for role in ROLES.values() if role.honest)


async def _stay_up(run: Run, interrupted: asyncio.Event) -> None:
    while not interrupted.is_set():
        run.children.check()
        await asyncio.sleep(1.0)


async def _one_epoch(run: Run) -> None:
    before = _latest(run)
    await _traffic(run)
    say("waiting for the audit validator to close the epoch")

    async def published() -> bool:
        return _latest(run) > before

    await wait_until(
        "the publication of an epoch", published, run.children, run.config.epoch_seconds + CLOSING_GRACE_S
    )
    summary = read_summary(run.store, _latest(run))
    epoch = await _once_on_chain(run, summary)
    run.epochs.append(epoch)
    print(f"\n{render(epoch)}\n", file=sys.stderr if run.config.json else sys.stdout, flush=True)


def _latest(run: Run) -> int:
    try:
        return read_latest(run.store)
    except ObjectMissing:
        return 0


async def _traffic(run: Run) -> None:
    model, total = public_model_name(str(run.subnet.model)), run.config.requests
    say(f"sending {total} chat requests through the public API")

    def report(count: TrafficCount) -> None:
        done = count.answered + count.failed
        if done % 12 == 0:
            say(f"  {done} of {total} answered, {count.failed} of them with an error")

    bodies = chat_requests(model, total, random.Random(len(run.epochs)))
    count = await send_traffic(run.config.gateway_urls, bodies, report)
    run.children.check()
    if not count.answered:
        raise LocalnetError(f"none of {total} requests was answered; the last one: {count.last_failure}")
    if count.failed:
        say(f"  {count.failed} requests failed; the last one: {count.last_failure}")


async def _once_on_chain(run: Run, summary: EpochSummary) -> Epoch:
    """The epoch, when both validators' weights on chain are the published ones."""
    expected = {entry.uid: entry.weight for entry in summary.weights}
    say(f"epoch {summary.epoch} is published; waiting for both validators' weights on chain")
    wanted = {run.subnet.validator.hotkey, run.subnet.watchtower.hotkey}
    uids = {n.uid: n.hotkey for n in await run.chain.neurons() if n.hotkey in wanted}
    rows: dict[int, dict[int, int]] = {}

    async def set_by_both() -> bool:
        try:
            on_chain = await run.chain.weights()
        except ChainUnavailable:
            return False
        rows.update(on_chain)
        return all(on_chain.get(uid) == expected for uid in uids)

    await wait_until("both validators' setting of weights", set_by_both, run.children, WEIGHTS_DEADLINE_S)
    own = next(uid for uid, hotkey in uids.items() if hotkey == run.subnet.validator.hotkey)
    say(f"read back from the chain: uid {', '.join(map(str, sorted(uids)))} set {expected}")
    epoch = read_epoch(run.store, summary, run.roles, rows[own])
    return replace(epoch, auditors=await _auditors(run.config, summary.epoch))


async def _auditors(config: LocalnetConfig, epoch: int) -> AuditorShares | None:
    """Who made how many of an epoch's audits, when there are several who could."""
    for url in config.auditor_urls if config.auditors > 1 else []:
        told = await get_json(f"{url}/auditors") or {"epochs": [], "leader": None}
        found = [one for one in told["epochs"] if one["epoch"] == epoch]
        if found:
            return AuditorShares(told["leader"] or "", found[0]["audits"])
    return None


def _how_to_call(config: LocalnetConfig, model: str) -> str:
    return f"""the subnet is up; Ctrl-C stops it. Call it with curl:

    curl {config.gateway_url}/v1/chat/completions -H 'Content-Type: application/json' \\
      -d '{{"model": "{model}", "messages": [{{"role": "user", "content": "Hello!"}}], "stream": true}}'

or with the openai package:

    from openai import OpenAI
    client = OpenAI(base_url="{config.gateway_url}/v1", api_key="none")
    answer = client.chat.completions.create(
        model="{model}", messages=[{{"role": "user", "content": "Hello!"}}])
    print(answer.choices[0].message.content)

Who gave an answer, what it signed and what the audit found: {config.gateway_url}/v1/receipts/<x-request-id>
What is published, and why each miner earns what it earns: {config.gateway_url}/v1/dataset/ and /v1/scoreboard
Compute all of it again, as a stranger would:

    .venv/bin/python validator/replay.py --epoch all --network {config.chain_url} \\
      --from {config.gateway_url}/v1/dataset/files

The audit validator's scores: {config.auditor_url}/scores    The chain: btcli … --network {config.chain_url}
"""
