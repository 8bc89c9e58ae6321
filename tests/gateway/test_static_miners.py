"""A list of miners needs no chain: not at the start, not for requests, not to be ready."""

import asyncio
from pathlib import Path

import aiohttp

from tests.gateway.running_gateway import CHAT
from tests.gateway.scripted_miner import honest
from tests.gateway.test_process import client, scripted_subnet


async def test_with_a_list_of_miners_the_gateway_serves_and_never_asks_a_chain(tmp_path: Path) -> None:
    asked = 0

    async def count(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal asked
        asked += 1
        writer.close()

    chain = await asyncio.start_server(count, "127.0.0.1", 0)
    port = chain.sockets[0].getsockname()[1]
    async with scripted_subnet(tmp_path, honest, "--network", f"ws://127.0.0.1:{port}") as (_, url):
        answer = await client(url).chat.completions.create(**CHAT)
        assert answer.choices[0].message.content
        async with aiohttp.ClientSession() as session, session.get(f"{url}/ready") as ready:
            assert ready.status == 200
    chain.close()
    assert asked == 0
