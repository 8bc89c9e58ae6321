"""Whether gateways find and reach the miner: its axon on chain, and who answers at that address."""

from collections.abc import Mapping, Sequence
from typing import Any

from miners.axon_address import AxonAddress
from shared.chain import Neuron
from shared.diagnosis import Finding, bad, note, ok, warn
from shared.diagnosis_http import HealthAnswer


def judge_axon(own: Neuron, announced: AxonAddress, runs: bool) -> Finding:
    """Whether the chain shows the address that this machine announces."""
    if own.axon == announced.text:
        return ok("axon", f"the chain shows {own.axon}, which this miner announces")
    words = f"the chain shows {own.axon or 'no address'}, this miner announces {announced.text}"
    if not runs:
        return note("axon", f"{words}; it is published when the miner starts")
    return warn(
        "axon",
        words,
        "the running miner publishes it within a minute, or an hour where the chain limits it; if not, see "
        "its log, and give it and the doctor the same --axon-ip and --axon-port",
    )


def judge_reach(
    announced: AxonAddress, answer: HealthAnswer, runs: bool, hotkey: str | None
) -> Sequence[Finding]:
    """What calling the announced address from this machine shows, which is not all: routers often don't
    lead a machine back to itself, and firewalls let it through where they stop others."""
    if not runs:
        return []
    if answer.is_of(hotkey):
        return [ok("reach", f"this miner answers at {announced.text}, called from this machine")]
    if answer.body is not None:
        words = f"another process answers at {announced.text}: {answer.body.get('hotkey', 'no miner')}"
        return [bad("reach", words, "announce the address that leads here: --axon-ip, --axon-port")]
    words = (
        f"calling {announced.text} from this machine failed ({answer.failure}); that tells nothing if the "
        "router does not lead a machine back to itself"
    )
    cure = f"call it from another machine: curl http://{announced.text}/health; or name a --gateway to ask"
    return [note("reach", words, cure)]


def judge_gateway(gateway: str, answer: HealthAnswer, hotkey: str) -> Finding:
    """What a gateway says of calling this miner: the one view from outside that can be had from here."""
    if answer.body is None:
        return note("gateway", f"{gateway} could not be asked about this miner: {answer.failure}")
    entry = _entry(answer.body, hotkey)
    if entry is None:
        return warn(
            "gateway",
            f"{gateway} does not know this miner",
            "it reads the metagraph every half minute: see whether registration and axon are as they should",
        )
    if entry.get("callable"):
        return ok("gateway", f"{gateway} can call this miner")
    return bad(
        "gateway",
        f"{gateway} can't call this miner: {entry.get('reason')}",
        "open the port to everybody in firewall and router, and see that --axon-ip and --axon-port lead here",
    )


def _entry(body: Mapping[str, Any], hotkey: str) -> Mapping[str, Any] | None:
    listed = body.get("miners")
    miners = listed if isinstance(listed, list) else []
    return next((one for one in miners if isinstance(one, dict) and one.get("hotkey") == hotkey), None)
