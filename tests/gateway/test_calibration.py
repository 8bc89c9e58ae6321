"""The gateway serves its calibration file by digest, and miners take it from there."""

import asyncio
from pathlib import Path

import httpx
import pytest

from gateway.calibration import load_calibration
from shared.calibration_header import CALIBRATION_FILE, OFFER_PATH, offer_of
from shared.calibration_source import obtain_calibration
from shared.canonical import sha256_hex
from shared.errors import ConfigError
from tests.gateway.running_gateway import RunningGateway, running_gateway
from tests.shared.test_calibration_source import calibration_bytes

DATA = calibration_bytes()


@pytest.fixture
def file(tmp_path: Path) -> Path:
    named = tmp_path / "tiny.calibration"
    named.write_bytes(DATA)
    return named


async def get(gateway: RunningGateway, path: str) -> httpx.Response:
    async with httpx.AsyncClient(base_url=gateway.url, trust_env=False) as client:
        return await client.get(path)


async def test_the_offer_names_the_file_and_the_model(tmp_path: Path, file: Path) -> None:
    async with running_gateway(tmp_path, calibration=str(file)) as gateway:
        answer = await get(gateway, OFFER_PATH)
    assert answer.json() == {
        "version": "calibration-offer/1",
        "model": "tiny",
        "model_digest": "0" * 64,
        "sha256": sha256_hex(DATA),
        "size_bytes": len(DATA),
    }


async def test_the_file_is_served_by_its_digest_for_caches_to_keep(tmp_path: Path, file: Path) -> None:
    async with running_gateway(tmp_path, calibration=str(file)) as gateway:
        answer = await get(gateway, offer_of(DATA).path)
    assert answer.content == DATA
    assert answer.headers["etag"] == f'"{sha256_hex(DATA)}"'
    assert "immutable" in answer.headers["cache-control"]


async def test_a_file_that_changes_while_the_gateway_runs_is_served_as_it_was(
    tmp_path: Path, file: Path
) -> None:
    async with running_gateway(tmp_path, calibration=str(file)) as gateway:
        file.write_bytes(calibration_bytes(reference="newer"))
        digest = (await get(gateway, OFFER_PATH)).json()["sha256"]
        answer = await get(gateway, f"{OFFER_PATH}/{digest}")
    assert answer.content == DATA


async def test_a_miner_takes_it_from_the_gateway(tmp_path: Path, file: Path) -> None:
    async with running_gateway(tmp_path, calibration=str(file)) as gateway:
        fetched = await asyncio.to_thread(obtain_calibration, gateway.url, "tiny", tmp_path / "state")
    assert fetched.read_bytes() == DATA


@pytest.mark.parametrize("digest", ["0" * 64, "x", "..%2f..%2fetc%2fpasswd", sha256_hex(DATA).upper()])
async def test_other_digests_are_not_served(digest: str, tmp_path: Path, file: Path) -> None:
    async with running_gateway(tmp_path, calibration=str(file)) as gateway:
        answer = await get(gateway, f"{OFFER_PATH}/{digest}")
    assert answer.status_code == 404
    assert answer.json()["error"]["code"] in ("calibration_not_found", "not_found")


async def test_without_a_file_the_gateway_serves_all_but_that(tmp_path: Path) -> None:
    async with running_gateway(tmp_path) as gateway:
        for path in (OFFER_PATH, f"{OFFER_PATH}/{sha256_hex(DATA)}"):
            answer = await get(gateway, path)
            assert (answer.status_code, answer.json()["error"]["code"]) == (404, "no_calibration")
            assert "--calibration FILE" in answer.json()["error"]["message"]
        assert (await get(gateway, "/v1/models")).status_code == 200


async def test_only_reading_is_allowed(tmp_path: Path, file: Path) -> None:
    async with running_gateway(tmp_path, calibration=str(file)) as gateway, httpx.AsyncClient() as client:
        answer = await client.post(gateway.url + OFFER_PATH)
    assert (answer.status_code, answer.json()["error"]["code"]) == (405, "method_not_allowed")


async def test_a_gateway_can_take_it_from_another(tmp_path: Path, file: Path) -> None:
    async with running_gateway(tmp_path, calibration=str(file)) as gateway:
        served = await asyncio.to_thread(load_calibration, "tiny", gateway.url, tmp_path / "state")
    assert served is not None
    assert served.data == DATA


def test_the_file_in_the_models_folder_is_found(tmp_path: Path) -> None:
    assert load_calibration(str(tmp_path), None, tmp_path) is None
    (tmp_path / CALIBRATION_FILE).write_bytes(DATA)
    served = load_calibration(str(tmp_path), None, tmp_path)
    assert served is not None
    assert served.offer == offer_of(DATA)


def test_a_named_file_that_is_missing_or_damaged_stops_the_start(tmp_path: Path, file: Path) -> None:
    with pytest.raises(ConfigError, match=r"can't be read.*check --calibration"):
        load_calibration("tiny", str(tmp_path / "none"), tmp_path)
    file.write_bytes(DATA[:40])
    with pytest.raises(ConfigError, match="not a calibration file"):
        load_calibration("tiny", str(file), tmp_path)
