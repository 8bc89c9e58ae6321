"""Builds the auditor's synthetic traffic from its settings."""

import asyncio
import random
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager

from shared.errors import ConfigError
from shared.record_feed import as_one, open_feed
from shared.signing import Signer
from validator.audit_config import AuditConfig
from validator.clock import Clock
from validator.synthetic_client import GatewayAddress, GatewayClient, http_client
from validator.synthetic_corpus import load_corpus
from validator.synthetic_observer import TrafficObserver
from validator.synthetic_prompts import GrammarPrompts, PromptSource
from validator.synthetic_rate import SOURCES_PER_TARGET
from validator.synthetic_requests import RequestWriter
from validator.synthetic_state import STATE_FILE, StateFile, StateKeeper
from validator.synthetic_traffic import SyntheticTraffic
from validator.troubles import Troubles


@asynccontextmanager
async def synthetic_traffic(
    config: AuditConfig,
    signer: Signer,
    model: str,
    miners: Callable[[], Iterable[str]],
    troubles: Troubles,
    clock: Clock,
    keeper: StateKeeper | None = None,
) -> AsyncIterator[SyntheticTraffic | None]:
    """Traffic that can be run; None without --gateway. Its connections are closed at the end.

    Args:
        keeper: where its state is kept, if not in a file of the state folder.

    Raises:
        ConfigError: the address of the gateway, the corpus or the stored state can't be used.
    """
    if config.gateway is None:
        yield None
        return
    if not config.gateway.startswith(("http://", "https://")):
        raise ConfigError(f"--gateway is {config.gateway!r}; write its URL, such as http://127.0.0.1:8081")
    chance = random.SystemRandom()
    keeper = keeper or StateFile(config.state_folder / STATE_FILE)
    target = config.synthetic_requests
    gateway = GatewayAddress(config.gateway, config.gateway_hotkey or signer.ss58_address)
    logs = {name: open_feed(place, gateway.hotkey, signer) for name, place in config.record_places.items()}
    state = await asyncio.to_thread(keeper.load)
    observer = TrafficObserver(as_one(logs), state, SOURCES_PER_TARGET * target, chance)
    async with http_client() as http:
        yield SyntheticTraffic(
            miners,
            target,
            config.epoch_seconds,
            GatewayClient(http, gateway, signer),
            RequestWriter(model, _prompts(config), observer.identity, chance),
            observer,
            keeper,
            troubles,
            clock,
            chance,
        )


def _prompts(config: AuditConfig) -> PromptSource:
    return load_corpus(config.synthetic_prompts) if config.synthetic_prompts else GrammarPrompts()
