"""GET /v1/models and /v1/models/{id}: one model, for OpenAI's clients, vLLM's and Anthropic's alike."""

from datetime import UTC, datetime
from typing import Any

from fastapi import FastAPI
from fastapi.responses import JSONResponse

from gateway.errors import model_does_not_embed, model_not_found
from gateway.prompt_tokens import PromptTokens


def add_model_routes(app: FastAPI, model: str, created_at_s: int, tokens: PromptTokens) -> None:
    """Serve them, and refuse what needs another kind of model."""

    def card() -> dict[str, Any]:
        return {
            "id": model,
            "object": "model",
            "created": created_at_s,
            "owned_by": "constantinople",
            "root": model,
            "parent": None,
            "max_model_len": tokens.context,
            "type": "model",
            "display_name": model,
            "created_at": datetime.fromtimestamp(created_at_s, UTC).isoformat(),
        }

    @app.get("/v1/models")
    async def models() -> JSONResponse:
        paging = {"first_id": model, "last_id": model, "has_more": False}
        return JSONResponse({"object": "list", "data": [card()], **paging})

    @app.get("/v1/models/{name:path}")
    async def one_model(name: str) -> JSONResponse:
        if name != model:
            raise model_not_found(name[:256], model)
        return JSONResponse(card())

    @app.post("/v1/embeddings")
    async def embeddings() -> JSONResponse:
        raise model_does_not_embed(model)
