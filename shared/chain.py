"""The chain as the processes of this project need it: a small interface, and the real SDK behind it."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar
from urllib.parse import urlsplit

import bittensor as bt
from bittensor._generated import storage
from bittensor._transport.errors import SubstrateRequestException
from bittensor.result import BittensorError
from bittensor.result import ChainError as SdkChainError
from bittensor.settings import NETWORKS

from shared.chain_blocks import block_timestamp_ms
from shared.chain_commitments import checked_commitment, commitment_call, commitments_of
from shared.errors import ChainError, ChainUnavailable, ConfigError

log = logging.getLogger(__name__)

READ_DEADLINE_S = 30.0
"""Deadline of a read: a metagraph of 256 neurons is one call of about a second over the internet."""

WRITE_DEADLINE_S = 120.0
"""Deadline of an extrinsic, inclusion awaited: ten blocks of 12 s."""

BLOCKS_AT_ONCE = 16
"""Blocks that are read side by side over one connection."""

BLOCKS_PER_DEADLINE = 8
"""Rounds of `BLOCKS_AT_ONCE` blocks for which `READ_DEADLINE_S` is enough: a round asks four times, one after
another, and an answer takes up to a second over the internet."""

_SDK_FAILURES = (
    BittensorError,
    SubstrateRequestException,
    OSError,
    TimeoutError,
    ValueError,
    LookupError,
    TypeError,
)
"""What the SDK raises. Codec errors and unknown storage are plain ValueError, KeyError or TypeError."""

T = TypeVar("T")


@dataclass(frozen=True)
class Neuron:
    """One uid of the metagraph. `axon` is "ip:port", hostile until parsed, or None."""

    uid: int
    hotkey: str
    axon: str | None
    validator_permit: bool
    stake_rao: int
    last_update: int


@dataclass(frozen=True)
class Block:
    """One block: `hash` is 0x-hex, `timestamp_ms` is the block's own Unix time."""

    number: int
    hash: str
    timestamp_ms: int


class Chain(Protocol):
    """What the processes ask of the chain, for one netuid.

    Every method raises ChainUnavailable when the chain can't be reached or does not answer in
    time, and ChainError when it refuses.
    """

    async def neurons(self) -> list[Neuron]:
        """All neurons of the subnet, by uid."""
        ...

    async def head(self) -> Block:
        """The newest block."""
        ...

    async def block(self, number: int) -> Block:
        """An older block."""
        ...

    async def blocks(self, numbers: Iterable[int]) -> dict[int, Block]:
        """Older blocks by number, read side by side. One that can't be had fails all."""
        ...

    async def serve_axon(self, ip: str, port: int) -> None:
        """Publish the address at which this hotkey serves."""
        ...

    async def set_weights(self, weights: Mapping[int, int]) -> None:
        """Set this hotkey's weights: u16 by uid."""
        ...

    async def weights(self) -> dict[int, dict[int, int]]:
        """The weights on chain: validator uid → {miner uid: u16}; zeros are absent."""
        ...

    async def set_commitment(self, data: bytes) -> None:
        """Replace this hotkey's commitment: 0 to 128 bytes that everybody can read.

        Raises:
            ValueError: it is longer.
        """
        ...

    async def commitments(self) -> dict[str, bytes]:
        """The newest commitment of each hotkey that made one for this subnet.

        Hotkeys that have left the subnet may be among them; commitments in another form than one run
        of raw bytes are left out.
        """
        ...

    async def close(self) -> None:
        """Close the connection."""
        ...


def is_local_network(network: str) -> bool:
    """Whether the network's node runs on this machine, so that loopback axons are fine."""
    return network == "local" or urlsplit(network).hostname in ("127.0.0.1", "localhost", "::1")


def check_network(network: str) -> None:
    """Check that the SDK knows `network`.

    Raises:
        ConfigError: it does not.
    """
    if network not in NETWORKS and not network.startswith(("ws://", "wss://")):
        known = ", ".join(sorted(NETWORKS))
        raise ConfigError(
            f"there is no network {network!r}; --network takes {known}, or a ws:// or wss:// address"
        )


async def _all_or_none(read: Callable[[int], Awaitable[T]], numbers: Iterable[int]) -> list[T]:
    """What each call returns; the first that fails ends the others, and is what is raised."""
    try:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(_awaited(read(number))) for number in numbers]
    except BaseExceptionGroup as failed:
        raise failed.exceptions[0] from None
    return [task.result() for task in tasks]


async def _awaited(call: Awaitable[T]) -> T:
    return await call


class SubtensorChain:
    """The real chain, over one connection of the real SDK that is reopened when it fails."""

    def __init__(self, network: str, netuid: int, wallet: Any = None) -> None:
        self._network, self._netuid, self._wallet = network, netuid, wallet
        self._client: Any = None
        self._opening = asyncio.Lock()

    async def _connected(self) -> Any:
        async with self._opening:
            if self._client is None:
                # A local node is alone; named networks keep the SDK's pools of endpoints.
                pinned: dict[str, Any] = (
                    {"fallback_endpoints": [], "archive_endpoints": []} if "://" in self._network else {}
                )
                client = bt.Client(self._network, **pinned)
                await client.connect()
                self._client = client
            return self._client

    async def _drop(self) -> None:
        client, self._client = self._client, None
        if client is not None:
            try:
                await asyncio.wait_for(client.close(), READ_DEADLINE_S)
            except _SDK_FAILURES as error:
                log.debug("closing the chain connection failed: %s", error)

    async def _call(self, what: str, deadline_s: float, call: Callable[[Any], Awaitable[T]]) -> T:
        async def connected_call() -> T:
            return await call(await self._connected())

        try:
            return await asyncio.wait_for(connected_call(), deadline_s)
        except SdkChainError as error:
            raise ChainError(
                f"{what} was refused by the chain: {error}", error.name or error.code.value
            ) from error
        except ChainError:
            raise
        except _SDK_FAILURES as error:
            await self._drop()
            reason = str(error) or type(error).__name__
            raise ChainUnavailable(f"{what} failed at {self._network}: {reason}") from error

    async def neurons(self) -> list[Neuron]:
        async def read(client: Any) -> list[Neuron]:
            graph = await client.subnets.metagraph(self._netuid)
            if graph is None:
                raise ChainError(f"there is no subnet {self._netuid} on {self._network}; check --netuid")
            return [
                Neuron(n.uid, n.hotkey, n.axon, n.validator_permit, int(n.total_stake.rao), n.last_update)
                for n in graph
            ]

        return await self._call("reading the metagraph", READ_DEADLINE_S, read)

    async def head(self) -> Block:
        async def read(client: Any) -> Block:
            return await self._read_block(client, await client.block())

        return await self._call("reading the newest block", READ_DEADLINE_S, read)

    async def block(self, number: int) -> Block:
        return await self._call(
            f"reading block {number}", READ_DEADLINE_S, lambda client: self._read_block(client, number)
        )

    async def blocks(self, numbers: Iterable[int]) -> dict[int, Block]:
        wanted = sorted(set(numbers))

        async def read(client: Any) -> dict[int, Block]:
            slots = asyncio.Semaphore(BLOCKS_AT_ONCE)

            async def read_one(number: int) -> Block:
                async with slots:
                    return await self._read_block(client, number)

            return {found.number: found for found in await _all_or_none(read_one, wanted)}

        deadline_s = READ_DEADLINE_S * (1 + len(wanted) / (BLOCKS_AT_ONCE * BLOCKS_PER_DEADLINE))
        return await self._call(f"reading {len(wanted)} blocks", deadline_s, read)

    @staticmethod
    async def _read_block(client: Any, number: int) -> Block:
        block_hash = str(await client._substrate.block_hash(number))
        return Block(number, block_hash, await block_timestamp_ms(client, block_hash))

    async def serve_axon(self, ip: str, port: int) -> None:
        await self._execute("serving the axon", bt.ServeAxon(netuid=self._netuid, ip=ip, port=port))

    async def set_weights(self, weights: Mapping[int, int]) -> None:
        intent = bt.SetWeights(
            netuid=self._netuid, weights={uid: float(weight) for uid, weight in weights.items()}
        )
        await self._execute("setting weights", intent)

    async def set_commitment(self, data: bytes) -> None:
        call = commitment_call(self._netuid, checked_commitment(data))

        async def send(client: Any) -> Any:
            return await client.submit_call(call, self._wallet, signer="hotkey")

        await self._submit("publishing the commitment", send)

    async def commitments(self) -> dict[str, bytes]:
        async def read(client: Any) -> dict[str, bytes]:
            return commitments_of(await client.query_map(storage.Commitments.CommitmentOf, [self._netuid]))

        return await self._call("reading commitments", READ_DEADLINE_S, read)

    async def _execute(self, what: str, intent: Any) -> None:
        await self._submit(what, lambda client: client.execute(intent, self._wallet))

    async def _submit(self, what: str, send: Callable[[Any], Awaitable[Any]]) -> None:
        async def submit(client: Any) -> None:
            result = await send(client)
            if not result.success:
                name = getattr(result.error, "name", None) or ""
                raise ChainError(f"{what} failed on chain: {result.error or result.message}", name)

        await self._call(what, WRITE_DEADLINE_S, submit)

    async def weights(self) -> dict[int, dict[int, int]]:
        async def read(client: Any) -> dict[int, dict[int, int]]:
            rows = await client.query_map(storage.SubtensorModule.Weights, [self._netuid])
            return {int(uid): {int(to): int(weight) for to, weight in row} for uid, row in rows}

        return await self._call("reading weights", READ_DEADLINE_S, read)

    async def weights_rate_limit(self) -> int:
        """Blocks that must lie between two settings of weights by one hotkey.

        Raises:
            ChainError: as every method of `Chain`.
        """

        async def read(client: Any) -> int:
            return int(await client.query(storage.SubtensorModule.WeightsSetRateLimit, [self._netuid]) or 0)

        return await self._call("reading the weights rate limit", READ_DEADLINE_S, read)

    async def close(self) -> None:
        await self._drop()
