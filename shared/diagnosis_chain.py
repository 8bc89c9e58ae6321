"""The chain as one process sees it: whether it answers, goes on and knows this hotkey; the clock by it."""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

from shared.chain import Block, Chain, Neuron
from shared.diagnosis import Finding, bad, note, ok, warn
from shared.errors import ChainError, ChainUnavailable
from shared.peer_auth import FRESHNESS_S

BLOCK_S = 12.0
"""Seconds between blocks of a Subtensor chain."""

STUCK_AFTER_S = 5 * BLOCK_S
"""A chain that has made no block for so long, and makes none while we look, does not go on."""

PATIENCE_S = 2.5 * BLOCK_S
"""How long a new block is waited for."""

LATE_S = 8.0
"""A new block is seen some seconds after the time that it states: it travels, and is asked for once a second.
Later than this, the clock is fast or the endpoint is behind."""

EARLY_S = 2.0
"""No block comes from the future: seen this much before its own time, the clock is slow."""

POLL_S = 1.0

Sleep = Callable[[float], Awaitable[None]]
NowMs = Callable[[], int]


@dataclass(frozen=True)
class Pulse:
    """The newest block, and the first one that came after it, if one did; each with when it was seen."""

    first: Block
    first_seen_ms: int
    following: Block | None
    following_seen_ms: int

    @property
    def first_lag_s(self) -> float:
        """Seconds from the first block's own time to when it was seen."""
        return (self.first_seen_ms - self.first.timestamp_ms) / 1000

    @property
    def arrival_lag_s(self) -> float | None:
        """The same of the following block, which was seen as soon as it came."""
        if self.following is None:
            return None
        return (self.following_seen_ms - self.following.timestamp_ms) / 1000


async def feel_pulse(chain: Chain, now_ms: NowMs, sleep: Sleep) -> Pulse:
    """Read the newest block, and wait for the next.

    Raises:
        ChainError: as every method of `Chain`.
    """
    first, seen_ms = await chain.head(), now_ms()
    waited_s = 0.0
    while waited_s < PATIENCE_S:
        await sleep(POLL_S)
        waited_s += POLL_S
        head = await chain.head()
        if head.number > first.number:
            return Pulse(first, seen_ms, head, now_ms())
    return Pulse(first, seen_ms, None, now_ms())


def judge_pulse(pulse: Pulse, network: str) -> Sequence[Finding]:
    """Whether the chain goes on, and what its blocks say of this machine's clock."""
    if pulse.following is None:
        return [_no_new_block(pulse, network)]
    head = ok("chain", f"{network} is at block {pulse.following.number}, and goes on")
    return [head, _clock(pulse.arrival_lag_s or 0.0)]


def _no_new_block(pulse: Pulse, network: str) -> Finding:
    words = f"{network} stands at block {pulse.first.number}, {pulse.first_lag_s:.0f} s old by this clock"
    if pulse.first_lag_s > STUCK_AFTER_S:
        cure = (
            "the endpoint's node is stuck, or this clock is far ahead: compare `date -u` with another "
            "machine's; if the clock is right, name another endpoint with --network wss://…"
        )
        return bad("chain", words, cure)
    return note("chain", f"{words}; no other came in {PATIENCE_S:.0f} s, so the clock is not held against it")


def _clock(lag_s: float) -> Finding:
    if -EARLY_S <= lag_s <= LATE_S:
        return ok("clock", f"a new block came {lag_s:.1f} s after the time that it states")
    limit = f"signed requests are refused when clocks differ by {FRESHNESS_S:.0f} s"
    cure = "let the system keep time: timedatectl set-ntp true, or start chrony; then see `timedatectl`"
    if lag_s < 0:
        words = f"this clock is slow: a new block states a time {-lag_s:.1f} s in the future; {limit}"
        return (bad if -lag_s >= FRESHNESS_S - EARLY_S else warn)("clock", words, cure)
    words = (
        f"a new block came {lag_s:.1f} s after its time: this clock is fast, or the endpoint late; {limit}"
    )
    return (bad if lag_s >= FRESHNESS_S + EARLY_S else warn)(
        "clock", words, f"{cure}; if the clock is right, name a nearer endpoint with --network wss://…"
    )


def judge_synchronised(synchronised: bool | None) -> Sequence[Finding]:
    """What the system says of its own clock; None when it doesn't say."""
    if synchronised is False:
        return [warn("clock", "the system does not keep this clock in time", "timedatectl set-ntp true")]
    return []


async def read_neurons(chain: Chain, network: str, netuid: int) -> tuple[list[Neuron] | None, list[Finding]]:
    """The subnet's neurons; None, and why, when they can't be had."""
    try:
        neurons = await chain.neurons()
    except ChainUnavailable as error:
        cure = "see that this machine reaches it (firewall, DNS), or name another endpoint with --network"
        return None, [bad("chain", str(error), cure)]
    except ChainError as error:
        cure = "pass the subnet's number with --netuid and its chain with --network"
        return None, [bad("subnet", str(error), cure)]
    return neurons, [ok("subnet", f"subnet {netuid} of {network} has {len(neurons)} neurons")]


def find_neuron(neurons: Sequence[Neuron], hotkey: str) -> Neuron | None:
    """The neuron of a hotkey."""
    return next((neuron for neuron in neurons if neuron.hotkey == hotkey), None)


def judge_registration(own: Neuron | None, hotkey: str, netuid: int, command: str) -> Finding:
    """Whether the hotkey has a uid; `command` registers it."""
    if own is None:
        return bad("registration", f"{hotkey} is not registered on subnet {netuid}", command)
    return ok("registration", f"uid {own.uid} on subnet {netuid}")


def registration_command(netuid: int, wallet: str, hotkey: str, network: str) -> str:
    """What registers a hotkey."""
    return (
        f"btcli subnets register --netuid {netuid} --wallet {wallet} --wallet-hotkey {hotkey} "
        f"--network {network}"
    )


def judge_permit(own: Neuron) -> Finding:
    """Whether the hotkey may set weights, and miners will answer it."""
    if own.validator_permit:
        return ok("permit", "the hotkey has a validator permit")
    return bad(
        "permit",
        "no validator permit: miners refuse this hotkey's requests, and the chain its weights",
        "add stake (btcli stake add): permits go to those with the most stake, at the end of the subnet's "
        "epoch; btcli subnets metagraph shows who has one",
    )
