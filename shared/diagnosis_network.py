"""A doctor's look at the chain: whether it answers and goes on, and where the hotkey stands."""

from collections.abc import Awaitable, Callable, Sequence

from shared.chain import Neuron, check_network
from shared.diagnosis import Finding, note
from shared.diagnosis_chain import (
    feel_pulse,
    find_neuron,
    judge_pulse,
    judge_registration,
    judge_synchronised,
    read_neurons,
    registration_command,
)
from shared.diagnosis_surroundings import ExaminedChain, Surroundings

Standing = Callable[[ExaminedChain, Sequence[Neuron], int], Awaitable[Sequence[Finding]]]
"""(chain, neurons, newest block's number) → where the process's own hotkey stands."""


async def look_at_chain(
    around: Surroundings, network: str, netuid: int, standing: Standing
) -> Sequence[Finding]:
    """The chain and the clock, and of a chain that can be read also the standing.

    Raises:
        ConfigError: the network is none.
    """
    check_network(network)
    chain = around.connect_chain(network, netuid)
    try:
        neurons, found = await read_neurons(chain, network, netuid)
        clock = judge_synchronised(around.clock_is_synchronised())
        if neurons is None:
            return [*found, *clock]
        pulse = await feel_pulse(chain, around.now_ms, around.sleep)
        stands = await standing(chain, neurons, (pulse.following or pulse.first).number)
        return [*found, *judge_pulse(pulse, network), *clock, *stands]
    finally:
        await chain.close()


def find_registration(
    neurons: Sequence[Neuron], key: str | None, netuid: int, wallet: str, hotkey: str, network: str
) -> tuple[Neuron | None, Finding]:
    """The own neuron, and whether there is one.

    Args:
        key: the hotkey's address; None when it can't be read.
        hotkey: its name in the wallet.
    """
    if key is None:
        return None, note("registration", "not looked at, because the hotkey can't be read")
    own = find_neuron(neurons, key)
    command = registration_command(netuid, wallet, hotkey, network)
    return own, judge_registration(own, key, netuid, command)
