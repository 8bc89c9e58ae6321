"""What the miner raises besides `shared.errors`.

ConstantinopleError
├── RequestRefused       a request gets an HTTP error; carries status, words and code
├── CaptureMismatch      what the engine captured does not fit the response, so nothing may be signed
├── NotRegistered        the hotkey has no uid on the subnet
└── SelfTestFailed       the engine computes something else than the reference
"""

from shared.errors import ConstantinopleError

_TYPES = {
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    429: "rate_limit_error",
}


class RequestRefused(ConstantinopleError):
    """A request that is answered with an error in OpenAI's form.

    Attributes:
        status: HTTP status.
        code: short machine-readable reason.
        unread: the request's body was not read to its end, so the connection can't be used again.
    """

    def __init__(self, status: int, message: str, code: str, unread: bool = False) -> None:
        super().__init__(message)
        self.status, self.code, self.unread = status, code, unread

    @property
    def body(self) -> dict[str, dict[str, str]]:
        """The JSON body: `{"error": {"message", "type", "code"}}`."""
        kind = _TYPES.get(self.status, "server_error" if self.status >= 500 else "invalid_request_error")
        return {"error": {"message": str(self), "type": kind, "code": self.code}}


class CaptureMismatch(ConstantinopleError):
    """What the engine captured does not fit the response: a receipt over it would be wrong."""


class NotRegistered(ConstantinopleError):
    """The miner's hotkey has no uid on the subnet."""


class SelfTestFailed(ConstantinopleError):
    """The engine's hidden states are not the reference's."""
