"""Builds the node from its parts and runs it until it is told to stop."""

import asyncio
import errno
import logging
import os
import signal
import sys
import time
from dataclasses import dataclass

from websockets.asyncio.server import Server

from localnet.chain_node.block_store import BlockStore, StateDirectoryError
from localnet.chain_node.chain import Chain, Environment
from localnet.chain_node.config import WHAT_IT_IS_NOT, NodeConfig
from localnet.chain_node.dev_rpc import DevMethods
from localnet.chain_node.genesis import Genesis
from localnet.chain_node.hyperparameters import HyperparameterValue
from localnet.chain_node.production import BlockProducer
from localnet.chain_node.rpc_methods import NodeMethods
from localnet.chain_node.runtime import Runtime
from localnet.chain_node.server import RpcServer
from localnet.chain_node.subscriptions import SubscriptionHub
from localnet.chain_node.wire_values import to_hex


class StartError(Exception):
    """The node cannot start; the message says why and what to do."""


@dataclass(frozen=True)
class Node:
    """The parts of a running node."""

    config: NodeConfig
    store: BlockStore
    chain: Chain
    producer: BlockProducer
    server: RpcServer

    async def listen(self) -> Server:
        """Starts to answer.

        Raises:
            StartError: the address is taken, or is none of this machine's.
        """
        try:
            return await self.server.listen(self.config.host, self.config.port)
        except OSError as error:
            where = f"{self.config.host}:{self.config.port}"
            if error.errno == errno.EADDRINUSE:
                cure = "stop it, or choose another --port"
                raise StartError(f"{where} is taken by another program: {cure}") from error
            raise StartError(f"cannot listen on {where}: {error.strerror or error}") from error


def system_environment() -> Environment:
    """The machine's clock and random source."""
    return Environment(now_ms=lambda: time.time_ns() // 1_000_000, random_bytes=os.urandom)


def build_node(config: NodeConfig, environment: Environment) -> Node:
    """Opens the chain and puts the node together; it does not listen yet.

    Raises:
        StateDirectoryError: the state directory cannot be used.
    """
    store = BlockStore.open(config.state_dir)
    runtime = Runtime(config.slot_duration_ms)
    try:
        chain = Chain.open(runtime, store, Genesis(config.netuid, _overrides(config)), environment)
    except StateDirectoryError:
        store.close()
        raise
    hub = SubscriptionHub()
    producer = BlockProducer(chain, hub, block_seconds=config.block_seconds)
    methods = {**NodeMethods(chain, hub, producer).table(), **DevMethods(chain, producer).table()}
    return Node(config, store, chain, producer, RpcServer(methods, hub))


def _overrides(config: NodeConfig) -> dict[str, HyperparameterValue]:
    given = {
        "tempo": config.tempo,
        "weights_rate_limit": config.weights_rate_limit,
        "commit_reveal_weights_enabled": config.commit_reveal or None,
    }
    return {name: value for name, value in given.items() if value is not None}


async def run_node(config: NodeConfig) -> None:
    """Runs a node until SIGINT or SIGTERM.

    Raises:
        StartError, StateDirectoryError: it cannot start.
    """
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    node = build_node(config, system_environment())
    try:
        server = await node.listen()
        _say_ready(node, server)
        production = asyncio.create_task(node.producer.run())
        await stop.wait()
        production.cancel()
        server.close()
        await server.wait_closed()
    finally:
        node.store.close()


def listening_url(server: Server) -> str:
    """The websocket address of a listening server."""
    host, port = next(iter(server.sockets)).getsockname()[:2]
    return f"ws://[{host}]:{port}" if ":" in host else f"ws://{host}:{port}"


def _say_ready(node: Node, server: Server) -> None:
    head = node.chain.head
    subnets = node.chain.current.pairs("SubtensorModule.NetworksAdded")
    netuids = ", ".join(str(netuid) for netuid, _ in subnets)
    print(WHAT_IT_IS_NOT)
    print(f"subnet {netuids} at block {head.number} {to_hex(head.hash)}")
    print(f"listening on {listening_url(server)}", flush=True)


def main(config: NodeConfig) -> int:
    """Runs the node; the exit code of the process."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    logging.getLogger("websockets").setLevel(logging.WARNING)
    try:
        asyncio.run(run_node(config))
    except (StartError, StateDirectoryError) as error:
        print(error, file=sys.stderr)
        return 1
    return 0
