"""The calibration file of the network, for miners and followers: what it is, and its bytes by digest."""

from dataclasses import dataclass
from pathlib import Path

from fastapi import FastAPI
from fastapi.responses import JSONResponse, Response

from gateway.errors import no_calibration, other_calibration
from shared.calibration_header import (
    CALIBRATION_FILE,
    OFFER_PATH,
    CalibrationOffer,
    offer_of,
    read_file,
)
from shared.calibration_source import obtain_calibration
from shared.errors import ConfigError, ModelError

OFFER_CACHE = "public, max-age=60"
FILE_CACHE = "public, max-age=31536000, immutable"
"""A digest names the same bytes for ever."""


@dataclass(frozen=True)
class ServedCalibration:
    """A calibration file as it was when the gateway started, and what is said about it."""

    offer: CalibrationOffer
    data: bytes


def load_calibration(model: str, named: str | None, state_folder: Path) -> ServedCalibration | None:
    """The named file, or the one in the model's folder, if there is one. Blocks.

    Raises:
        ConfigError: the file can't be had, or is no calibration file.
    """
    if named is None and not (Path(model).expanduser() / CALIBRATION_FILE).exists():
        return None
    try:
        data = read_file(obtain_calibration(named, model, state_folder))
        return ServedCalibration(offer_of(data), data)
    except ModelError as error:
        raise ConfigError(f"no calibration file can be served: {error}; check --calibration") from None


def add_calibration_routes(app: FastAPI, served: ServedCalibration | None) -> None:
    """GET /v1/calibration, the offer, and GET /v1/calibration/<digest>, the file."""

    @app.get(OFFER_PATH)
    async def offer() -> Response:
        if served is None:
            raise no_calibration()
        return JSONResponse(served.offer.model_dump(mode="json"), headers={"cache-control": OFFER_CACHE})

    @app.get(OFFER_PATH + "/{digest}")
    async def file(digest: str) -> Response:
        if served is None:
            raise no_calibration()
        if digest != served.offer.sha256:
            raise other_calibration(digest[:64], served.offer.sha256)
        headers = {"cache-control": FILE_CACHE, "etag": f'"{digest}"'}
        return Response(served.data, media_type="application/octet-stream", headers=headers)
