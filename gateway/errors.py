"""What goes wrong while the gateway serves, and how clients are told.

ConstantinopleError (shared.errors)
├── ApiError           an answer with an error status, in the shape of OpenAI's API
├── MinerFailure       a miner did not answer, broke off, or answered nonsense
│   └── MinerRefusal   a miner says that the request itself is wrong
└── ClientLeft         the client closed its connection before the answer was complete
"""

from collections.abc import Mapping
from typing import Any

import orjson

from shared.errors import ConstantinopleError

RETRY_AFTER_S = 5
"""What clients are told to wait when nothing can serve them: unserved gateways look for miners every 3 s."""


class ApiError(ConstantinopleError):
    """An error as clients see it.

    Attributes:
        status: HTTP status.
        kind: OpenAI's `type`; says whose fault it is.
        code: a word that programs can compare, or None.
        param: the field of the request that is wrong, or None.
    """

    def __init__(
        self,
        status: int,
        message: str,
        *,
        kind: str = "invalid_request_error",
        code: str | None = None,
        param: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.status, self.message, self.kind, self.code, self.param = status, message, kind, code, param
        self.headers = dict(headers or {})

    def body(self) -> bytes:
        """The JSON body of the answer, which is also the data of an error event in a stream."""
        error: dict[str, Any] = {
            "message": self.message,
            "type": self.kind,
            "param": self.param,
            "code": self.code,
        }
        return orjson.dumps({"error": error})

    def with_headers(self, headers: Mapping[str, str]) -> "ApiError":
        """The same error with more headers."""
        self.headers |= headers
        return self


class MinerFailure(ConstantinopleError):
    """A miner did not answer, broke off, or answered nonsense; the message says which, in words.

    Attributes:
        http_status: the error status with which it answered, if it did.
        wait_s: for how long it asks to be left alone, being overloaded; None if it is not.
    """

    def __init__(self, message: str, http_status: int | None = None, wait_s: float | None = None) -> None:
        super().__init__(message)
        self.http_status, self.wait_s = http_status, wait_s


class MinerRefusal(MinerFailure):
    """A miner says that the request is wrong: HTTP 400, 413 or 422."""

    def __init__(self, message: str, http_status: int, code: str | None, param: str | None) -> None:
        super().__init__(message, http_status)
        self.status, self.code, self.param = http_status, code, param


class ClientLeft(ConstantinopleError):
    """The client closed its connection before the answer was complete."""


def invalid_request(message: str, param: str | None = None, code: str | None = None) -> ApiError:
    """400: the request can't be served as it is written."""
    return ApiError(400, message, param=param, code=code)


def body_too_large(limit_bytes: int) -> ApiError:
    """413."""
    return ApiError(
        413, f"The request's body is larger than {limit_bytes} bytes; shorten it.", code="request_too_large"
    )


def model_not_found(asked: str, served: str) -> ApiError:
    """404, as OpenAI answers for an unknown model."""
    return ApiError(
        404,
        f"The model {asked!r} does not exist here; {served!r} does.",
        param="model",
        code="model_not_found",
    )


def context_length_exceeded(context: int, prompt: int, output: int, what: str) -> ApiError:
    """400, as OpenAI answers: prompt and output together are longer than the model's context.

    Args:
        context, prompt, output: tokens.
        what: the field that holds the prompt.
    """
    asked = f"you asked for {prompt + output} tokens ({prompt} in the {what}, {output} of output)"
    if prompt < context and output:
        cure = f"lower max_tokens to at most {context - prompt}, or shorten the {what}"
    else:
        cure = f"shorten the {what} to fewer than {context} tokens"
    return ApiError(
        400,
        f"This model's maximum context length is {context} tokens, and {asked}: {cure}.",
        code="context_length_exceeded",
        param=what,
    )


def model_does_not_embed(model: str) -> ApiError:
    """400: there is only a model that writes."""
    return ApiError(
        400,
        f"{model} writes text and gives no embeddings; no model that does is served here.",
        code="unsupported_model",
        param="model",
    )


def tokenizer_unavailable(reason: str) -> ApiError:
    """503: nothing can be tokenised here now."""
    return ApiError(
        503,
        f"Nothing can be tokenised now: {reason}.",
        kind="server_error",
        code="tokenizer_unavailable",
        headers={"retry-after": str(RETRY_AFTER_S)},
    )


def no_calibration() -> ApiError:
    """404: the gateway was started without one."""
    return ApiError(
        404,
        "This gateway serves no calibration file; its operator starts it with --calibration FILE, other "
        "gateways of the network may serve it.",
        code="no_calibration",
    )


def other_calibration(asked: str, served: str) -> ApiError:
    """404: the digest of another file than the one that is served."""
    return ApiError(
        404,
        f"The calibration file {asked!r} is not served here; {served} is, see /v1/calibration.",
        code="calibration_not_found",
    )


def receipt_not_found(request_id: str) -> ApiError:
    """404: the gateway has no record of such a request."""
    return ApiError(
        404,
        f"This gateway has no record of a request {request_id!r}; ask with the x-request-id of an answer, at "
        "the gateway that gave it.",
        param="request_id",
        code="receipt_not_found",
    )


def receipts_unavailable(reason: str) -> ApiError:
    """503: receipts can't be looked up now; everything else works."""
    return ApiError(
        503,
        f"The gateway can't look receipts up at the moment: {reason}; try again later.",
        kind="server_error",
        code="receipts_unavailable",
        headers={"retry-after": str(RETRY_AFTER_S)},
    )


def no_route(path: str) -> ApiError:
    """404 for an unknown address."""
    return ApiError(
        404, f"There is no {path} here; /openapi.json describes all that there is.", code="not_found"
    )


def metrics_not_for_strangers() -> ApiError:
    """403: the request for metrics comes from an address that the operator does not allow."""
    return ApiError(
        403,
        "Metrics are not shown to this address; the gateway's operator lists networks with --metrics-allow.",
        kind="permission_error",
        code="metrics_not_allowed",
    )


def metrics_elsewhere() -> ApiError:
    """404: metrics have a port of their own."""
    return ApiError(404, "Metrics are not served on this port.", code="not_found")


def method_not_allowed(method: str, path: str) -> ApiError:
    """405."""
    return ApiError(405, f"{path} does not take {method} requests.", code="method_not_allowed")


def no_miner_available(model: str) -> ApiError:
    """503: nobody to route to."""
    return ApiError(
        503,
        f"No miner that serves {model} can be reached at the moment; try again shortly.",
        kind="server_error",
        code="no_miner_available",
        headers={"retry-after": str(RETRY_AFTER_S)},
    )


def may_not_choose_miner(reason: str) -> ApiError:
    """403: the request names the miner that should serve it, which only trusted callers may."""
    return ApiError(
        403,
        f"Only callers that this gateway trusts may choose the miner: {reason}. "
        "Send the request without the x-miner-hotkey header.",
        kind="permission_error",
        code="may_not_choose_miner",
        param="x-miner-hotkey",
    )


def named_miner_unavailable(reason: str) -> ApiError:
    """503: the miner that a trusted caller named can't serve now."""
    return ApiError(
        503,
        f"The named miner can't serve now: {reason}.",
        kind="server_error",
        code="named_miner_unavailable",
        headers={"retry-after": str(RETRY_AFTER_S)},
    )


def recording_unavailable() -> ApiError:
    """503: an answer that can't be recorded can't be audited, so it is not served."""
    return ApiError(
        503,
        "The gateway can't write its record log at the moment, so it serves nothing; try again later.",
        kind="server_error",
        code="recording_unavailable",
        headers={"retry-after": str(RETRY_AFTER_S)},
    )


def miners_failed(reason: str) -> ApiError:
    """502: every miner that was tried failed; `reason` is the last one's."""
    return ApiError(502, f"The miner failed: {reason}.", kind="server_error", code="miner_failed")


CONTEXT_WORDS = ("maximum context length", "maximum model length", "context length is only")
"""With which vLLM says that a prompt is too long; its code is a number (`vllm/renderers/params.py`)."""


def refused_by_miner(refusal: MinerRefusal) -> ApiError:
    """The refusal of a miner, passed on in OpenAI's words: vLLM's type is the name of an exception."""
    message = str(refusal)
    too_long = any(words in message for words in CONTEXT_WORDS)
    return ApiError(
        refusal.status,
        message,
        code="context_length_exceeded" if too_long else refusal.code,
        param=refusal.param,
    )


def shutting_down() -> ApiError:
    """503: the gateway ended before the answer did."""
    return ApiError(503, "The gateway is shutting down.", kind="server_error", code="shutting_down")


def internal_error() -> ApiError:
    """500: a fault of the gateway itself; the log has the traceback."""
    return ApiError(
        500,
        "The gateway failed; its operator finds the cause in the log.",
        kind="server_error",
        code="internal",
    )
