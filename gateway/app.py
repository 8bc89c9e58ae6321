"""The gateway's HTTP surface: the inference routes, and a FastAPI application for everything else."""

from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse, Response
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Receive, Scope, Send

from gateway.calibration import ServedCalibration, add_calibration_routes
from gateway.errors import ApiError, internal_error, method_not_allowed, model_not_found, no_route
from gateway.health import Health
from gateway.openai_routes import InferenceRoutes


class GatewayApp:
    """The whole ASGI application."""

    def __init__(self, inference: InferenceRoutes, others: ASGIApp) -> None:
        self._inference, self._others = inference, others

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        inference = scope["type"] == "http" and scope["path"] in self._inference.paths
        await (self._inference if inference else self._others)(scope, receive, send)


def build_other_routes(
    model: str, created_at_s: int, health: Health, calibration: ServedCalibration | None
) -> FastAPI:
    """Models, health and the calibration file; every error has the shape of OpenAI's API."""
    app = FastAPI(title="Constantinople gateway", openapi_url=None, docs_url=None, redoc_url=None)
    card = {"id": model, "object": "model", "created": created_at_s, "owned_by": "constantinople"}

    @app.get("/v1/models")
    async def models() -> JSONResponse:
        return JSONResponse({"object": "list", "data": [card]})

    @app.get("/v1/models/{name:path}")
    async def one_model(name: str) -> JSONResponse:
        if name != model:
            raise model_not_found(name[:256], model)
        return JSONResponse(card)

    @app.get("/health")
    async def get_health() -> JSONResponse:
        return JSONResponse(health.report())

    add_calibration_routes(app, calibration)

    @app.exception_handler(ApiError)
    async def api_error(_: Request, error: ApiError) -> Response:
        return _error_response(error)

    @app.exception_handler(HTTPException)
    async def http_error(request: Request, error: HTTPException) -> Response:
        if error.status_code == 405:
            refused = method_not_allowed(request.method, request.url.path)
            return _error_response(refused.with_headers(dict(error.headers or {})))
        return _error_response(no_route(request.url.path))

    @app.exception_handler(Exception)
    async def own_fault(_: Request, __: Exception) -> Response:
        return _error_response(internal_error())

    return app


def _error_response(error: ApiError) -> Response:
    return Response(error.body(), error.status, error.headers, "application/json")
