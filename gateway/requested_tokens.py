"""What can be said of a request's tokens before it is served."""

import hashlib
from typing import Any

from gateway.client_request import ClientRequest
from shared.inference_paths import CHAT_PATH

BYTES_PER_TOKEN = 4
"""Of a body of English text; what was wrong about it is put right when the answer is counted."""

ASSUMED_OUTPUT_TOKENS = 512
"""Of a request that sets no max_tokens: about twice what an answer has (`validator/synthetic_prior.py`)."""


def requested_tokens(request: ClientRequest, body_bytes: int) -> int:
    """How many tokens, prompt and output, a request may use; an estimate from above for most."""
    limit = token_limit(request) or ASSUMED_OUTPUT_TOKENS
    return body_bytes // BYTES_PER_TOKEN + limit * choices_of_all(request)


def token_limit(request: ClientRequest) -> int | None:
    """The most tokens that one answer may have, if the request says so."""
    limits = (request.fields.get("max_completion_tokens"), request.fields.get("max_tokens"))
    return next((one for one in limits if type(one) is int and one > 0), None)


def choices_each(request: ClientRequest) -> int:
    """How many answers to each prompt were asked for; the request was checked before."""
    count: int | None = request.fields.get("n")
    return count or 1


def choices_of_all(request: ClientRequest) -> int:
    """How many choices the answer should have, over all prompts."""
    return choices_each(request) * _prompts(request.fields.get("prompt"))


def _prompts(prompt: Any) -> int:
    several = isinstance(prompt, list) and not isinstance(prompt[0], int)
    return len(prompt) if several else 1


def conversation(request: ClientRequest) -> str:
    """A digest that all requests of one conversation share: of its first words by the user."""
    if request.path != CHAT_PATH:
        return _digest(str(request.fields["prompt"]))
    spoken = [one.get("content") for one in request.fields["messages"] if one["role"] == "user"]
    return _digest(_text(spoken[0]) if spoken else "")


def _text(content: Any) -> str:
    if not isinstance(content, list):
        return str(content)
    return "".join(str(part.get("text", "")) for part in content if isinstance(part, dict))


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode(errors="surrogatepass")).hexdigest()
