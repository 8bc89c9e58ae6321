"""The gateway's HTTP surface: the inference routes, and a FastAPI application for everything else."""

from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse, Response
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Receive, Scope, Send

from gateway.calibration import ServedCalibration, add_calibration_routes
from gateway.dataset_answers import text_policy
from gateway.dataset_routes import PublicDataset, add_dataset_routes
from gateway.errors import ApiError, internal_error, method_not_allowed, no_route
from gateway.health import Health
from gateway.model_routes import add_model_routes
from gateway.openai_routes import InferenceRoutes
from gateway.openapi import openapi_document
from gateway.prompt_tokens import PromptTokens
from gateway.receipt_lookup import ReceiptLookup, add_receipt_routes
from gateway.record_routes import RecordAccess, add_record_routes
from gateway.tokenizer_routes import Tokenization, add_tokenizer_routes
from gateway.wallet_sign_in import WalletSignIn, add_sign_in_routes

NAME = "Constantinople"
ABOUT = "A gateway to verified, decentralised inference, for OpenAI's clients at /v1 and Anthropic's at /."


class GatewayApp:
    """The whole ASGI application."""

    def __init__(self, inference: InferenceRoutes, others: ASGIApp) -> None:
        self._inference, self._others = inference, others

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        inference = scope["type"] == "http" and scope["path"] in self._inference.paths
        await (self._inference if inference else self._others)(scope, receive, send)


def build_other_routes(
    model: str,
    created_at_s: int,
    health: Health,
    calibration: ServedCalibration | None,
    receipts: ReceiptLookup,
    sign_in: WalletSignIn | None,
    tokens: PromptTokens,
    tokenization: Tokenization,
    dataset: PublicDataset | None,
    store_by_default: bool,
    records: RecordAccess,
) -> FastAPI:
    """All that is not on the hot path; every error has the shape of OpenAI's API."""
    app = FastAPI(title="Constantinople gateway", openapi_url=None, docs_url=None, redoc_url=None)

    @app.get("/")
    async def about() -> JSONResponse:
        told = {"name": NAME, "model": model, "description": ABOUT, "openapi": "/openapi.json"}
        return JSONResponse(told | {"text": text_policy(store_by_default)})

    @app.get("/openapi.json")
    async def openapi() -> JSONResponse:
        return JSONResponse(openapi_document(model))

    @app.get("/health")
    async def get_health() -> JSONResponse:
        return JSONResponse(health.report())

    add_model_routes(app, model, created_at_s, tokens)
    add_tokenizer_routes(app, tokenization)
    add_calibration_routes(app, calibration)
    add_receipt_routes(app, receipts)
    add_sign_in_routes(app, sign_in)
    add_dataset_routes(app, dataset)
    add_record_routes(app, records)

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
