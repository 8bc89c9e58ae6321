"""Calibration files over HTTP: what is taken, what is refused, and what is kept."""

import asyncio
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from itertools import count
from pathlib import Path

import pytest

from shared.bounded_download import Monotonic
from shared.calibration_header import (
    OFFER_PATH,
    CalibrationHeader,
    CalibrationOffer,
    offer_of,
)
from shared.calibration_source import DEADLINE_S, MAX_OFFER_BYTES, is_url, obtain_calibration
from shared.canonical import canonical_json
from shared.errors import ModelError
from shared.honest_noise import HonestNoise
from tests.validator.scripted_http import ScriptedServer, SeenRequest, response, scripted_server


def calibration_bytes(reference: str = "a test", noise: HonestNoise | None = None) -> bytes:
    """A calibration file as far as its header: JSON in safetensors' header, tensors left out."""
    header = CalibrationHeader(
        model="tiny",
        model_digest="0" * 64,
        num_layers=2,
        hidden_size=8,
        reference=reference,
        statistics_tokens=100,
        noise=noise,
    )
    text = canonical_json({"__metadata__": {"calibration": canonical_json(header).decode()}})
    return len(text).to_bytes(8, "little") + text + b"\0" * 64


DATA = calibration_bytes()
OFFER = offer_of(DATA)


def gateway(offer: CalibrationOffer = OFFER, data: bytes = DATA) -> dict[str, bytes]:
    """What a gateway answers, by path."""
    return {OFFER_PATH: response(200, canonical_json(offer)), offer.path: response(200, data)}


class Served:
    """A server that answers by path, and the folder in which what was fetched is kept."""

    def __init__(self, server: ScriptedServer, folder: Path) -> None:
        self.server, self.folder = server, folder
        self.url = f"http://{server.axon}"

    async def fetch(self, path: str = "", clock: Monotonic = time.monotonic) -> Path:
        return await asyncio.to_thread(obtain_calibration, self.url + path, "tiny", self.folder, clock)

    async def refusal(self, path: str = "", clock: Monotonic = time.monotonic) -> str:
        with pytest.raises(ModelError) as refused:
            await self.fetch(path, clock)
        assert not list(self.folder.rglob("*.partial"))
        return str(refused.value)

    @property
    def paths(self) -> list[str]:
        return [request.target for request in self.server.seen]


@asynccontextmanager
async def serving(answers: Mapping[str, bytes], folder: Path) -> AsyncIterator[Served]:
    async def script(request: SeenRequest, writer: asyncio.StreamWriter) -> None:
        writer.write(answers.get(request.target, response(404, b"{}")))

    async with scripted_server(script) as server:
        yield Served(server, folder)


@pytest.mark.parametrize("path", ["", "/", "/v1", "/v1/", OFFER_PATH])
async def test_a_gateways_file_is_fetched_by_its_digest_and_kept(path: str, tmp_path: Path) -> None:
    async with serving(gateway(), tmp_path) as served:
        file = await served.fetch(path)
        assert file.read_bytes() == DATA
        assert file.name == f"{OFFER.sha256}.calibration"
        assert served.paths == [OFFER_PATH, OFFER.path]


async def test_what_was_fetched_is_not_fetched_again(tmp_path: Path) -> None:
    async with serving(gateway(), tmp_path) as served:
        assert await served.fetch() == await served.fetch()
        assert served.paths.count(OFFER.path) == 1


@pytest.mark.parametrize("damage", [b"", DATA[:-1], b"x" * len(DATA)])
async def test_a_kept_file_that_was_damaged_is_fetched_again(damage: bytes, tmp_path: Path) -> None:
    async with serving(gateway(), tmp_path) as served:
        (await served.fetch()).write_bytes(damage)
        assert (await served.fetch()).read_bytes() == DATA


async def test_when_the_network_has_another_file_that_one_is_fetched(tmp_path: Path) -> None:
    newer = calibration_bytes(reference="another")
    async with serving(gateway(), tmp_path) as served:
        old = await served.fetch()
    async with serving(gateway(offer_of(newer), newer), tmp_path) as served:
        assert (await served.fetch()).read_bytes() == newer
    assert old.read_bytes() == DATA


@pytest.mark.parametrize("path", ["/files/tiny.calibration", OFFER.path])
async def test_any_url_of_the_file_itself_will_do(path: str, tmp_path: Path) -> None:
    async with serving({path: response(200, DATA)}, tmp_path) as served:
        assert (await served.fetch(path)).read_bytes() == DATA


async def test_bytes_of_another_digest_are_refused(tmp_path: Path) -> None:
    exchanged = calibration_bytes(reference="forged")
    assert len(exchanged) == len(DATA)
    async with serving(gateway(data=exchanged), tmp_path) as served:
        assert "not the file of that digest" in await served.refusal()
        assert "not the file of that digest" in await served.refusal(OFFER.path)
    assert not list(tmp_path.rglob("*.calibration"))


async def test_more_bytes_than_offered_are_refused(tmp_path: Path) -> None:
    async with serving(gateway(data=DATA + b"x"), tmp_path) as served:
        assert f"more than {len(DATA)} bytes" in await served.refusal()


async def test_an_offer_without_end_is_refused(tmp_path: Path) -> None:
    async with serving({OFFER_PATH: response(200, b" " * (MAX_OFFER_BYTES + 1))}, tmp_path) as served:
        assert f"more than {MAX_OFFER_BYTES} bytes" in await served.refusal()


@pytest.mark.parametrize("offer", [b"", b"[]", b'{"sha256":"x"}', b"[" * 10_000, b"\xff"])
async def test_an_offer_of_rubbish_is_refused(offer: bytes, tmp_path: Path) -> None:
    async with serving({OFFER_PATH: response(200, offer)}, tmp_path) as served:
        assert "no gateway that serves a calibration file" in await served.refusal()


@pytest.mark.parametrize("data", [b"", b"<html>", b"\xff" * 64, (9).to_bytes(8, "little") + b"[" * 99])
async def test_a_file_of_rubbish_is_refused(data: bytes, tmp_path: Path) -> None:
    async with serving({"/c": response(200, data)}, tmp_path) as served:
        assert "not a calibration file" in await served.refusal("/c")


async def test_an_error_status_says_what_to_do(tmp_path: Path) -> None:
    async with serving({}, tmp_path) as served:
        words = await served.refusal()
    assert "HTTP 404" in words
    assert "check the address, or pass a file" in words


async def test_when_the_gateway_is_away_the_file_of_last_time_is_named(tmp_path: Path) -> None:
    async with serving(gateway(), tmp_path) as served:
        kept = await served.fetch()
    assert f"--calibration {kept}" in await served.refusal()


async def test_a_connection_that_breaks_off_is_a_refusal(tmp_path: Path) -> None:
    broken = response(200, DATA)[:-10]
    async with serving(gateway() | {OFFER.path: broken}, tmp_path) as served:
        assert "can't be read" in await served.refusal()


async def test_a_download_that_takes_too_long_is_given_up(tmp_path: Path) -> None:
    seconds = count(0.0, DEADLINE_S)
    async with serving(gateway(), tmp_path) as served:
        assert f"longer than {DEADLINE_S:g} s" in await served.refusal(clock=lambda: next(seconds))


async def test_a_folder_that_can_t_be_written_is_said(tmp_path: Path) -> None:
    (tmp_path / "calibrations").write_text("in the way")
    async with serving(gateway(), tmp_path) as served:
        assert "--state-dir" in await served.refusal()


def test_paths_are_used_as_they_are(tmp_path: Path) -> None:
    file = tmp_path / "c"
    assert obtain_calibration(str(file), "tiny", tmp_path) == file
    with pytest.raises(ModelError, match="--calibration URL"):
        obtain_calibration(None, str(tmp_path), tmp_path)


@pytest.mark.parametrize(
    ("location", "url"),
    [("http://h", True), ("https://h/x", True), ("/a/b", False), ("c.calibration", False), ("C:\\c", False)],
)
def test_urls_and_paths_are_told_apart(location: str, url: bool) -> None:
    assert is_url(location) == url
