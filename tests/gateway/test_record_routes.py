"""The record log over HTTP: who may read it, how much at once, and logs of several gateways as one."""

import asyncio
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import httpx
import pytest

from shared.errors import DownloadFailed
from shared.peer_auth import sign_request
from shared.record_feed import (
    LOGS_PATH,
    MOST_BYTES,
    MOST_LINES,
    RECORDS_PATH,
    RecordFeed,
    RemoteRecords,
    as_one,
    is_remote,
    open_feed,
)
from shared.record_folders import worker_folder
from shared.record_log import Cursor, RecordReader, RecordWriter, record_line
from tests.gateway.running_gateway import RunningGateway, keypair, running_gateway
from tests.validator.auditor_examples import HONEST, ExampleChain, example_record, many_records, neuron

GATEWAY = keypair("gateway").ss58_address
STRANGER, VALIDATOR = keypair("stranger"), keypair("validator")


def write(folder: Path, numbers: Iterable[int]) -> None:
    writer = RecordWriter(folder)
    for record in many_records(HONEST, 1, list(numbers)):
        writer.append(record)
    writer.close()


def write_more(gateway: RunningGateway, numbers: Iterable[int]) -> None:
    """Records as the gateway would write them, which has its own folder locked."""
    newest = RecordReader(gateway.folder).newest_segment() or 1
    with (gateway.folder / f"records-{newest:08d}.jsonl").open("ab") as log:
        for record in many_records(HONEST, 1, list(numbers)):
            log.write(record_line(record))


def feed(gateway: RunningGateway, signer: Any = None, hotkey: str = GATEWAY) -> RecordFeed:
    return RemoteRecords(gateway.url, hotkey, signer or keypair("gateway"))


async def read_all(source: RecordFeed, limit: int = 100) -> list[str]:
    """Ids of all records, batch by batch."""
    found: list[str] = []
    cursor = Cursor()
    while True:
        records, cursor = await asyncio.to_thread(source.read, cursor, limit)
        if not records:
            return found
        found += [record.request_id for record in records]


def ids(numbers: Iterable[int]) -> list[str]:
    return [example_record(number).request_id for number in numbers]


async def test_the_log_is_read_batch_by_batch_to_its_end_and_then_on(tmp_path: Path) -> None:
    async with running_gateway(tmp_path) as gateway:
        write_more(gateway, range(25))
        source = feed(gateway)
        assert await read_all(source, limit=10) == ids(range(25))
        local = await read_all(RecordReader(gateway.folder))
        assert local == ids(range(25)), "as one who reads the folder does"
        _, cursor = await asyncio.to_thread(source.read, Cursor(), 1000)
        write_more(gateway, range(25, 27))
        more, _ = await asyncio.to_thread(source.read, cursor, 1000)
        assert [one.request_id for one in more] == ids(range(25, 27))


async def test_one_answer_is_bounded_in_lines_and_bytes(tmp_path: Path) -> None:
    write(tmp_path / "log", range(20))
    reader = RecordReader(tmp_path / "log")
    whole, _ = reader.lines(Cursor(), 100, MOST_BYTES)
    assert len(whole) == 20
    some, after = reader.lines(Cursor(), 100, 3 * len(whole[0]))
    assert (some, reader.lines(after, 100, MOST_BYTES)[0]) == (whole[:3], whole[3:])
    one, after = reader.lines(Cursor(), 100, 10)
    assert one == whole[:1], "a record that is longer than an answer may be is an answer"
    assert reader.lines(after, 2, MOST_BYTES)[0] == whole[1:3]
    async with running_gateway(tmp_path) as gateway:
        write_more(gateway, range(MOST_LINES + 5))
        records, _ = await asyncio.to_thread(feed(gateway).read, Cursor(), 10 * MOST_LINES)
        assert 0 < len(records) <= MOST_LINES


async def test_a_torn_line_is_left_until_it_is_whole(tmp_path: Path) -> None:
    async with running_gateway(tmp_path) as gateway:
        write_more(gateway, range(2))
        segment = next(gateway.folder.glob("records-*.jsonl"))
        whole = segment.read_bytes()
        segment.write_bytes(whole[:-10])
        records, cursor = await asyncio.to_thread(feed(gateway).read, Cursor(), 10)
        assert [one.request_id for one in records] == ids([0])
        segment.write_bytes(whole)
        records, _ = await asyncio.to_thread(feed(gateway).read, cursor, 10)
        assert [one.request_id for one in records] == ids([1])


async def test_logs_of_workers_are_read_by_their_names(tmp_path: Path) -> None:
    async with running_gateway(tmp_path) as gateway:
        write(worker_folder(gateway.folder, 1), range(3))
        write(worker_folder(gateway.folder, 2), range(3, 5))
        workers = await asyncio.to_thread(feed(gateway).workers)
        assert list(workers) == ["worker-01", "worker-02"]
        assert await read_all(workers["worker-02"]) == ids(range(3, 5))
        assert await asyncio.to_thread(workers["worker-01"].workers) == {}


@pytest.mark.parametrize("path", [RECORDS_PATH, LOGS_PATH])
async def test_strangers_and_the_unsigned_get_nothing(tmp_path: Path, path: str) -> None:
    async with running_gateway(tmp_path) as gateway, httpx.AsyncClient(base_url=gateway.url) as client:
        write_more(gateway, range(3))
        signed = sign_request(STRANGER, "GET", path, b"", GATEWAY)
        elsewhere = sign_request(keypair("gateway"), "GET", path, b"", STRANGER.ss58_address)
        another = sign_request(keypair("gateway"), "GET", path + "?log=x", b"", GATEWAY)
        for headers in ({}, signed, elsewhere, another):
            answer = await client.get(path, headers=headers)
            assert (answer.status_code, answer.json()["error"]["code"]) == (403, "may_not_read_records")
            assert "request-" not in answer.text


async def test_a_request_that_was_heard_before_is_refused(tmp_path: Path) -> None:
    async with running_gateway(tmp_path) as gateway, httpx.AsyncClient(base_url=gateway.url) as client:
        headers = sign_request(keypair("gateway"), "GET", RECORDS_PATH, b"", GATEWAY)
        assert (await client.get(RECORDS_PATH, headers=headers)).status_code == 200
        assert (await client.get(RECORDS_PATH, headers=headers)).status_code == 403


async def test_a_caller_that_the_operator_lists_may_read(tmp_path: Path) -> None:
    async with running_gateway(tmp_path, trusted_callers=(STRANGER.ss58_address,)) as gateway:
        write_more(gateway, range(2))
        assert await read_all(feed(gateway, STRANGER)) == ids(range(2))


@pytest.mark.parametrize("shares", [True, False])
async def test_validators_may_read_only_where_the_operator_says_so(tmp_path: Path, shares: bool) -> None:
    chain = ExampleChain([neuron(VALIDATOR, 0, None, validator_permit=True), neuron(STRANGER, 1)])
    async with running_gateway(tmp_path, chain=chain, records_for_validators=shares) as gateway:
        write_more(gateway, range(2))
        with pytest.raises(DownloadFailed, match="403"):
            await read_all(feed(gateway, STRANGER))
        if shares:
            assert await read_all(feed(gateway, VALIDATOR)) == ids(range(2))
        else:
            with pytest.raises(DownloadFailed, match="does not trust"):
                await read_all(feed(gateway, VALIDATOR))


async def test_while_the_chain_is_away_validators_are_asked_to_wait(tmp_path: Path) -> None:
    chain = ExampleChain([], down=True)
    async with running_gateway(tmp_path, chain=chain, records_for_validators=True) as gateway:
        with pytest.raises(DownloadFailed, match="503"):
            await read_all(feed(gateway, VALIDATOR))
        assert await read_all(feed(gateway)) == []


@pytest.mark.parametrize(
    "query", ["segment=-1", "offset=x", "limit=1e9", "segment=" + "9" * 40, "log=../state"]
)
async def test_a_malformed_place_is_refused(tmp_path: Path, query: str) -> None:
    target = f"{RECORDS_PATH}?{query}"
    async with running_gateway(tmp_path) as gateway, httpx.AsyncClient(base_url=gateway.url) as client:
        headers = sign_request(keypair("gateway"), "GET", target, b"", GATEWAY)
        assert (await client.get(target, headers=headers)).status_code == 400


async def test_a_gateway_that_is_away_is_a_failed_download(tmp_path: Path) -> None:
    async with running_gateway(tmp_path) as gateway:
        gone = feed(gateway)
    with pytest.raises(DownloadFailed, match="can't be read"):
        await asyncio.to_thread(gone.read, Cursor(), 10)
    with pytest.raises(DownloadFailed, match="can't be read"):
        await asyncio.to_thread(gone.workers)


async def test_two_gateways_are_read_as_one(tmp_path: Path) -> None:
    async with running_gateway(tmp_path / "a") as first, running_gateway(tmp_path / "b") as second:
        write_more(first, range(3))
        write_more(second, range(3, 6))
        both = as_one({"a": feed(first), "b": feed(second)})
        logs = await asyncio.to_thread(both.workers)
        assert [await read_all(log) for log in logs.values()] == [ids(range(3)), ids(range(3, 6))]
        assert (both.read(Cursor(1, 2), 10)) == ([], Cursor(1, 2))
        alone = feed(first)
        assert as_one({"a": alone}) is alone


def test_a_place_is_a_folder_or_a_gateway(tmp_path: Path) -> None:
    assert isinstance(open_feed(str(tmp_path), GATEWAY, STRANGER), RecordReader)
    assert isinstance(open_feed("https://gateway.example", GATEWAY, STRANGER), RemoteRecords)
    assert is_remote("http://127.0.0.1:1")
    assert not is_remote("/var/records")
