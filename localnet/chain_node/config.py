"""Command-line flags of the development node. Imports nothing heavy, so that `--help` answers at once."""

import argparse
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

DEFAULT_PORT = 9944
"""The port of every Substrate node, and the one behind `--network local`."""

NOMINAL_SLOT_MS = 1_000
"""Block time that clients are told of where blocks come only on demand."""

_U16_MAX = 65_535
_MAX_BLOCK_SECONDS = 3_600.0

WHAT_IT_IS_NOT = (
    "A development node, not a blockchain: no consensus and no other nodes, no emissions, no fees, no alpha "
    "market; timelocked weight commits are stored and never opened."
)

_EPILOG = f"""{WHAT_IT_IS_NOT}
Loopback axon addresses are accepted, which the main network refuses. Anybody who can connect from this
machine can change the state through the dev_* methods. The flags --netuid, --tempo, --weights-rate-limit and
--commit-reveal describe the first block: a chain that continues from --state-dir keeps what it has."""


@dataclass(frozen=True)
class NodeConfig:
    """With `block_seconds` 0 blocks are made on demand; None leaves a hyperparameter at its default."""

    host: str = "127.0.0.1"
    port: int = DEFAULT_PORT
    block_seconds: float = 1.0
    state_dir: Path | None = None
    netuid: int = 97
    tempo: int | None = None
    weights_rate_limit: int | None = None
    commit_reveal: bool = False

    @property
    def slot_duration_ms(self) -> int:
        return round(self.block_seconds * 1_000) or NOMINAL_SLOT_MS


def parse_arguments(arguments: Sequence[str] | None = None) -> NodeConfig:
    """Reads the command line; on a mistake it prints the usage and exits with 2."""
    return NodeConfig(**vars(_parser().parse_args(arguments)))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m localnet.chain_node",
        description="A development Subtensor node: JSON-RPC over a websocket, for the SDK and btcli.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("--host", default=NodeConfig.host, help="address to listen on (default: %(default)s)")
    add(
        "--port",
        type=_integer(0, _U16_MAX),
        default=DEFAULT_PORT,
        help="port to listen on, 0 for any free one (default: %(default)s)",
    )
    add(
        "--block-seconds",
        type=_block_seconds,
        default=NodeConfig.block_seconds,
        metavar="SECONDS",
        help="time between blocks; 0 makes one per extrinsic and per dev_newBlock (default: %(default)s)",
    )
    add("--state-dir", type=Path, help="directory that keeps the chain; without it the chain is not kept")
    add(
        "--netuid",
        type=_integer(1, _U16_MAX),
        default=NodeConfig.netuid,
        help="the subnet (default: %(default)s)",
    )
    add("--tempo", type=_integer(1, _U16_MAX), metavar="BLOCKS", help="length of an epoch (default: 360)")
    add(
        "--weights-rate-limit",
        type=_integer(0, 2**63),
        metavar="BLOCKS",
        help="blocks between two settings of weights (default: 100)",
    )
    add("--commit-reveal", action="store_true", help="weights must be committed, plain ones are refused")
    return parser


def _integer(minimum: int, maximum: int) -> Callable[[str], int]:
    def parse(text: str) -> int:
        if not text.isascii() or not text.isdigit() or not minimum <= int(text) <= maximum:
            raise argparse.ArgumentTypeError(f"{text!r} is no integer from {minimum} to {maximum}")
        return int(text)

    return parse


def _block_seconds(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if value != 0 and not 0.001 <= value <= _MAX_BLOCK_SECONDS:
        raise argparse.ArgumentTypeError(
            f"{text!r} is neither 0 nor a number of seconds from 0.001 to {_MAX_BLOCK_SECONDS:g}"
        )
    return value
