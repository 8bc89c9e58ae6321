"""The chain, over the real SDK. Users of the chain import everything that they need of it from here."""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import Any, TypeVar

import bittensor as bt
from bittensor._generated import storage

from shared.addresses import host_and_port
from shared.chain_blocks import block_timestamp_ms
from shared.chain_commitments import checked_commitment, commitment_call, commitments_of
from shared.chain_interface import Block as Block
from shared.chain_interface import Chain as Chain
from shared.chain_interface import Neuron as Neuron
from shared.chain_link import ChainLink, Deadlines, Environment
from shared.chain_network import check_network as check_network
from shared.chain_network import first_network as first_network
from shared.chain_network import is_local_network as is_local_network
from shared.chain_submission import ERA_BLOCKS, Submissions
from shared.chain_weights import fitted_row
from shared.errors import ChainError, RateLimited

BLOCKS_AT_ONCE = 16
"""Blocks that are read side by side over one connection."""

_DEADLINES, _ENVIRONMENT = Deadlines(), Environment()
_SERVING_TOO_OFTEN = "ServingRateLimitExceeded"

T = TypeVar("T")


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
    """The real chain: one netuid, and one hotkey where something is to be sent.

    Args:
        network: a name or address, or several with commas between them, the preferred one first.
        wallet: a `bittensor.Wallet`; without one, reads only.
    """

    def __init__(
        self,
        network: str,
        netuid: int,
        wallet: Any = None,
        deadlines: Deadlines = _DEADLINES,
        around: Environment = _ENVIRONMENT,
    ) -> None:
        self._network, self._netuid, self._wallet = network, netuid, wallet
        self._link = ChainLink(network, deadlines, around)
        self._sleep = around.sleep

    @property
    def trouble(self) -> str | None:
        """What is wrong with the chain as it is seen from here, in words: it makes no blocks, for one."""
        return self._link.trouble

    async def neurons(self) -> list[Neuron]:
        graph = await self._metagraph()
        if await self._link.saw_head(int(graph.block)):
            graph = await self._metagraph()
        return [
            Neuron(n.uid, n.hotkey, n.axon, n.validator_permit, int(n.total_stake.rao), n.last_update)
            for n in graph
        ]

    async def _metagraph(self) -> Any:
        async def read(client: Any) -> Any:
            graph = await client.subnets.metagraph(self._netuid, commitments=False)
            if graph is None:
                raise ChainError(f"there is no subnet {self._netuid} on {self._network}; check --netuid")
            return graph

        return await self._link.read("reading the metagraph", read)

    async def head(self) -> Block:
        head = await self._head()
        return await self._head() if await self._link.saw_head(head.number, head.timestamp_ms) else head

    async def _head(self) -> Block:
        async def read(client: Any) -> Block:
            return await self._read_block(client, await client.block())

        return await self._link.read("reading the newest block", read)

    async def block(self, number: int) -> Block:
        return await self._link.read(
            f"reading block {number}", lambda client: self._read_block(client, number)
        )

    async def blocks(self, numbers: Iterable[int]) -> dict[int, Block]:
        slots = asyncio.Semaphore(BLOCKS_AT_ONCE)

        async def read_one(number: int) -> Block:
            async with slots:
                return await self.block(number)

        return {found.number: found for found in await _all_or_none(read_one, sorted(set(numbers)))}

    @staticmethod
    async def _read_block(client: Any, number: int) -> Block:
        block_hash = str(await client._substrate.block_hash(number))
        return Block(number, block_hash, await block_timestamp_ms(client, block_hash))

    async def serve_axon(self, ip: str, port: int) -> None:
        intent = bt.ServeAxon(netuid=self._netuid, ip=ip, port=port)

        async def send(client: Any) -> Any:
            return await client.execute(intent, self._wallet, period=ERA_BLOCKS)

        async def arrived() -> bool:
            published = {neuron.hotkey: neuron.axon for neuron in await self.neurons()}
            return published.get(self._hotkey) == host_and_port(ip, port)

        try:
            await self._submissions.send("serving the axon", send, arrived)
        except ChainError as error:
            if error.code != _SERVING_TOO_OFTEN:
                raise
            free_at = await self._axon_free_at()
            raise RateLimited(
                f"the chain takes a new axon of this hotkey from block {free_at} on", error.code, free_at
            ) from error

    async def _axon_free_at(self) -> int:
        async def read(client: Any) -> int:
            axon = await client.query(storage.SubtensorModule.Axons, [self._netuid, self._hotkey])
            limit = await client.query(storage.SubtensorModule.ServingRateLimit, [self._netuid])
            return int(axon["block"]) + int(limit)

        return await self._link.read("reading when an axon may be served", read)

    async def set_weights(self, weights: Mapping[int, int]) -> None:
        async def send(client: Any) -> Any:
            limit = int(await client.query(storage.SubtensorModule.MaxWeightsLimit, [self._netuid]))
            row = {uid: float(weight) for uid, weight in fitted_row(weights, limit).items()}
            version = await client.query(storage.SubtensorModule.WeightsVersionKey, [self._netuid])
            intent = bt.SetWeights(netuid=self._netuid, weights=row, version_key=int(version or 0))
            return await client.execute(intent, self._wallet, period=ERA_BLOCKS)

        await self._submissions.send("setting weights", send)

    @property
    def _hotkey(self) -> str:
        return str(self._wallet.hotkey.ss58_address)

    @property
    def _submissions(self) -> Submissions:
        return Submissions(self._link, self._hotkey, self._sleep)

    async def set_commitment(self, data: bytes) -> None:
        call = commitment_call(self._netuid, checked_commitment(data))

        async def send(client: Any) -> Any:
            return await client.submit_call(call, self._wallet, signer="hotkey", period=ERA_BLOCKS)

        async def arrived() -> bool:
            return (await self.commitments()).get(self._hotkey) == data

        await self._submissions.send("publishing the commitment", send, arrived)

    async def commitments(self) -> dict[str, bytes]:
        async def read(client: Any) -> dict[str, bytes]:
            return commitments_of(await client.query_map(storage.Commitments.CommitmentOf, [self._netuid]))

        return await self._link.read("reading commitments", read)

    async def weights(self) -> dict[int, dict[int, int]]:
        async def read(client: Any) -> dict[int, dict[int, int]]:
            rows = await client.query_map(storage.SubtensorModule.Weights, [self._netuid])
            return {int(uid): {int(to): int(weight) for to, weight in row} for uid, row in rows}

        return await self._link.read("reading weights", read)

    async def weights_rate_limit(self) -> int:
        """Blocks that must lie between two settings of weights by one hotkey.

        Raises:
            ChainError: as every method of `Chain`.
        """

        async def read(client: Any) -> int:
            return int(await client.query(storage.SubtensorModule.WeightsSetRateLimit, [self._netuid]) or 0)

        return await self._link.read("reading the weights rate limit", read)

    async def fitted_row(self, weights: Mapping[int, int]) -> dict[int, int]:
        """The row that the chain keeps of these weights, the subnet's limit of a share applied.

        Raises:
            ChainError: as every method of `Chain`.
        """

        async def read(client: Any) -> int:
            return int(await client.query(storage.SubtensorModule.MaxWeightsLimit, [self._netuid]))

        return fitted_row(weights, await self._link.read("reading the limit of weights", read))

    async def commits_weights(self) -> bool:
        """Whether the subnet takes commitments to weights, which it reveals later, instead of weights.

        Raises:
            ChainError: as every method of `Chain`.
        """

        async def read(client: Any) -> bool:
            item = storage.SubtensorModule.CommitRevealWeightsEnabled
            return bool(await client.query(item, [self._netuid]))

        return await self._link.read("reading whether weights are committed to", read)

    async def weight_commits(self) -> dict[str, int]:
        """The block of each hotkey's newest commitment to weights that is not revealed yet.

        Raises:
            ChainError: as every method of `Chain`.
        """

        async def read(client: Any) -> dict[str, int]:
            epochs = await client.weights.timelocked_weight_commits(self._netuid)
            commits = [commit for commits in epochs.values() for commit in commits]
            commits.sort(key=lambda commit: int(commit["commit_block"]))
            return {str(commit["hotkey"]): int(commit["commit_block"]) for commit in commits}

        return await self._link.read("reading commitments to weights", read)

    async def close(self) -> None:
        self._link.close()
