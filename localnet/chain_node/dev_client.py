"""Sets a development node up from outside: thin wrappers around its dev_* methods.

Imports neither the node nor the SDK. Every function opens a connection for one request.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from websockets.asyncio.client import connect


class DevNodeError(Exception):
    """The node refused a request; the message is its own."""


@dataclass(frozen=True)
class BlockReference:
    number: int
    hash: str


async def fund(url: str, ss58: str, rao: int) -> int:
    """Adds to an account's free balance; returns the new balance in rao."""
    return int(await _request(url, "dev_fund", [ss58, rao]))


async def register_neuron(
    url: str, netuid: int, hotkey: str, coldkey: str, *, stake_rao: int = 0, validator_permit: bool = False
) -> int:
    """Registers a hotkey without charging the burn, or updates its stake and permit; returns its uid."""
    return int(
        await _request(url, "dev_registerNeuron", [netuid, hotkey, coldkey, stake_rao, validator_permit])
    )


async def set_hyperparameter(url: str, netuid: int, name: str, value: int | bool) -> None:
    """Sets one hyperparameter of a subnet, by the name that `btcli subnets hyperparameters` shows."""
    await _request(url, "dev_setHyperparameter", [netuid, name, value])


async def new_blocks(url: str, count: int = 1) -> BlockReference:
    """Makes blocks at once; returns the newest."""
    block = await _request(url, "dev_newBlock", [count])
    return BlockReference(int(block["number"]), str(block["hash"]))


async def _request(url: str, method: str, params: Sequence[Any]) -> Any:
    request = {"jsonrpc": "2.0", "id": 1, "method": method, "params": params}
    async with connect(url, compression=None) as connection:
        await connection.send(json.dumps(request))
        response = json.loads(await connection.recv())
    if "error" in response:
        raise DevNodeError(f"{method}: {response['error']['message']}")
    return response["result"]
