"""No answer without a record: what happens when the log can't be written."""

import errno
from pathlib import Path

import openai
import pytest

from gateway.recording import Recorder
from shared.records import RequestRecord
from tests.gateway.running_gateway import CHAT, running_gateway


class FailingLog:
    """A log on a disk that can be full."""

    def __init__(self) -> None:
        self.full = False
        self.records: list[RequestRecord] = []
        self.synced = 0

    def append(self, record: RequestRecord) -> None:
        self.check_room()
        self.records.append(record)

    def check_room(self) -> None:
        if self.full:
            raise OSError(errno.ENOSPC, "No space left on device")

    def sync(self) -> None:
        self.synced = len(self.records)

    def close(self) -> None:
        self.sync()


@pytest.mark.parametrize("stream", [False, True])
async def test_an_answer_that_can_not_be_recorded_is_not_completed(tmp_path: Path, stream: bool) -> None:
    log = FailingLog()
    async with running_gateway(tmp_path, records=log) as gateway:
        log.full = True
        if stream:
            events = await gateway.openai.chat.completions.create(**CHAT, stream=True)
            with pytest.raises(openai.APIError) as caught:
                _ = [event async for event in events]
        else:
            with pytest.raises(openai.InternalServerError) as caught:
                await gateway.openai.chat.completions.create(**CHAT)
        assert caught.value.code == "recording_unavailable"
        assert gateway.parts.table.get(0).in_flight == 0


async def test_new_requests_are_refused_until_there_is_room_again(tmp_path: Path) -> None:
    log = FailingLog()
    async with running_gateway(tmp_path, records=log) as gateway:
        log.full = True
        for _ in range(2):
            with pytest.raises(openai.InternalServerError) as caught:
                await gateway.openai.chat.completions.create(**CHAT)
            assert caught.value.status_code == 503
        assert len(gateway.miners[0].bodies) == 1, "the second request was not served at all"
        await gateway.parts.recorder.sync()
        assert gateway.parts.recorder.failure is not None, "the disk is still full"
        log.full = False
        await gateway.parts.recorder.sync()
        await gateway.openai.chat.completions.create(**CHAT)
        assert [record.outcome for record in log.records] == ["answered"]


async def test_the_operator_is_told_in_words(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    log = FailingLog()
    async with running_gateway(tmp_path, records=log) as gateway:
        log.full = True
        with pytest.raises(openai.InternalServerError):
            await gateway.openai.chat.completions.create(**CHAT)
        assert "No space left on device" in caplog.text
        health = await gateway.openai.get("../health", cast_to=dict[str, object])
        assert health["status"] == "degraded"
        assert "No space left" in str(health["recording_error"])


async def test_the_log_is_synced_and_closed_at_the_end(tmp_path: Path) -> None:
    log = FailingLog()
    async with running_gateway(tmp_path, records=log) as gateway:
        await gateway.openai.chat.completions.create(**CHAT)
        assert log.synced == 0
    assert log.synced == 1


async def test_a_sync_that_fails_stops_service() -> None:
    class BrokenDisk(FailingLog):
        def sync(self) -> None:
            raise OSError(errno.EIO, "Input/output error")

    recorder = Recorder(BrokenDisk())
    await recorder.sync()
    assert "Input/output error" in str(recorder.failure)
    await recorder.close()
