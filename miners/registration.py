"""Finding the miner's own uid on the chain, patiently at start."""

import logging
from collections.abc import Awaitable, Callable, Sequence

from miners.config import MinerConfig
from miners.errors import NotRegistered
from shared.chain import Chain, Neuron, first_network
from shared.errors import ChainUnavailable

log = logging.getLogger(__name__)

RETRY_DELAYS_S = (2.0, 5.0, 10.0, 20.0, 30.0, 60.0, 60.0)
"""Waits between attempts to reach the chain at start: about three minutes, longer than a node's restart."""

Sleep = Callable[[float], Awaitable[None]]


async def read_neurons_patiently(
    chain: Chain, sleep: Sleep, delays_s: Sequence[float] = RETRY_DELAYS_S
) -> list[Neuron]:
    """The subnet's neurons; an unreachable chain is asked again after each delay.

    Raises:
        ChainUnavailable: it stayed unreachable.
        ChainError: it refused; there may be no such subnet.
    """
    for delay_s in delays_s:
        try:
            return await chain.neurons()
        except ChainUnavailable as error:
            log.warning("%s; trying again in %g s", error, delay_s)
            await sleep(delay_s)
    return await chain.neurons()


def own_neuron(neurons: Sequence[Neuron], hotkey: str, config: MinerConfig) -> Neuron:
    """The neuron of the miner's hotkey.

    Raises:
        NotRegistered: it has none; the message is the command that registers it.
    """
    for neuron in neurons:
        if neuron.hotkey == hotkey:
            return neuron
    raise NotRegistered(
        f"the hotkey {hotkey} is not registered on subnet {config.netuid} of {config.network}; "
        f"register it with: btcli subnets register --netuid {config.netuid} --wallet {config.wallet} "
        f"--hotkey {config.hotkey} --network {first_network(config.network)}"
    )
