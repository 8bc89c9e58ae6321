"""The miner's process: prepares, then runs vLLM's own OpenAI server with the miner's parts in it."""

import argparse
import logging
import os
import signal
from collections.abc import Sequence
from types import FrameType

from miners.config import MinerConfig
from miners.hidden_states.endpoint import BUILDER, PREPARED
from miners.preparation import PreparedMiner, prepare
from miners.service import ServiceBuilder, stock_service
from miners.tool_calls import tool_call_flags
from miners.vllm_arguments import vllm_arguments
from shared.errors import ConfigError, ConstantinopleError
from shared.logs import set_up_logs
from shared.model_identity import local_folder

log = logging.getLogger(__name__)

FAILED = 1
STOPPED_EARLY = 130


def run_miner(config: MinerConfig, vllm_flags: Sequence[str], build: ServiceBuilder = stock_service) -> int:
    """Serve until stopped; the exit status.

    Args:
        build: puts the parts together once the engine is ready.

    Raises:
        ConfigError: a setting is wrong.
    """
    set_up_logs()
    signal.signal(signal.SIGTERM, _interrupt)
    arguments = vllm_arguments(config, vllm_flags)
    try:
        prepared = prepare(config)
        arguments = [*tool_call_flags(local_folder(config.model)), *arguments]
        return _serve(prepared, arguments, build)
    except KeyboardInterrupt:
        log.info("stopped before the engine was ready")
        return STOPPED_EARLY
    except ConfigError:
        raise
    except ConstantinopleError as error:
        log.error("%s", error)
        return FAILED


def _interrupt(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def _leave_at_once(number: int, frame: FrameType | None) -> None:
    """End while the engine starts; its processes end with this one.

    An exception would not do: vLLM waits for its engine inside pyzmq's poll, which swallows it.
    """
    log.info("stopped before the engine was ready")
    os._exit(STOPPED_EARLY)


def _serve(prepared: PreparedMiner, arguments: Sequence[str], build: ServiceBuilder) -> int:
    import uvloop

    log.info("engine: starting vLLM; loading a model takes from half a minute to several")
    parsed = parse_vllm_arguments(arguments)
    setattr(parsed, PREPARED, prepared)
    setattr(parsed, BUILDER, build)
    uvloop.run(_run_server(parsed))
    if prepared.engine_end.died:
        log.error("the engine died; its last words are above. Start the miner again")
        return FAILED
    log.info("stopped")
    return 0


async def _run_server(parsed: argparse.Namespace) -> None:
    """vLLM's `run_server` with other signal handlers, which it replaces by its own once it serves."""
    from vllm.entrypoints.openai.api_server import run_server_worker, setup_server

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _leave_at_once)
    address, listening = setup_server(parsed, reuse_port=False)
    await run_server_worker(address, listening, parsed)


def parse_vllm_arguments(arguments: Sequence[str]) -> argparse.Namespace:
    """vLLM's own parsing and checks; a flag that it doesn't know ends the process with its usage."""
    from vllm.entrypoints.launchers.cli_args import make_arg_parser, validate_parsed_serve_args
    from vllm.entrypoints.serve.utils.api_utils import cli_env_setup
    from vllm.logger import configure_logging_from_args
    from vllm.utils.argparse_utils import FlexibleArgumentParser

    cli_env_setup()
    parser = make_arg_parser(FlexibleArgumentParser(prog="vllm_miner.py"))
    parsed: argparse.Namespace = parser.parse_args(list(arguments))
    configure_logging_from_args(parsed)
    validate_parsed_serve_args(parsed)
    return parsed
