"""Chat requests through the public API, as any client would send them."""

import asyncio
import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import cycle
from typing import Any

import httpx

from localnet.prompts import PROMPTS

CONCURRENCY = 6
"""Requests in flight: enough that engines batch, few enough that each miner's share is sampled evenly."""

REQUEST_DEADLINE_S = 180.0


@dataclass
class TrafficCount:
    """What came back."""

    answered: int = 0
    failed: int = 0
    last_failure: str = ""


def chat_requests(model: str, count: int, rng: random.Random) -> Iterator[dict[str, Any]]:
    """Bodies of chat requests: varied prompts, lengths, temperatures; half of them streamed."""
    for number in range(count):
        messages = [{"role": "user", "content": rng.choice(PROMPTS)}]
        if rng.random() < 0.3:
            messages.insert(0, {"role": "system", "content": "You are a concise and friendly assistant."})
        yield {
            "model": model,
            "messages": messages,
            "max_tokens": rng.randrange(24, 56),
            "temperature": rng.choice((0.0, 0.7, 1.0)),
            "stream": number % 2 == 0,
        }


async def send_traffic(
    urls: Sequence[str], bodies: Iterator[dict[str, Any]], report: Callable[[TrafficCount], None]
) -> TrafficCount:
    """Send all requests, a few at a time and to all of `urls` in turn; `report` is called after each."""
    count, turns = TrafficCount(), cycle(urls)
    async with httpx.AsyncClient(timeout=REQUEST_DEADLINE_S, trust_env=False) as client:

        async def sender() -> None:
            for body in bodies:
                failure = await _send(client, next(turns), body)
                count.answered += failure is None
                count.failed += failure is not None
                count.last_failure = failure or count.last_failure
                report(count)

        await asyncio.gather(*(sender() for _ in range(CONCURRENCY)))
    return count


async def _send(client: httpx.AsyncClient, url: str, body: dict[str, Any]) -> str | None:
    """Why a request failed, or None when it was answered whole."""
    try:
        async with client.stream("POST", f"{url}/v1/chat/completions", json=body) as answer:
            text = (await answer.aread()).decode(errors="replace")
    except httpx.HTTPError as error:
        return f"{type(error).__name__}: {error}"
    if answer.status_code != 200:
        return f"HTTP {answer.status_code}: {text[:200]}"
    if body["stream"] and "data: [DONE]" not in text:
        return f"the stream broke off: {text[-200:]}"
    return None
