"""One request of one client: its name in records, and what it takes of the client's limits."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import TracebackType

from gateway.client_limits import ClientLimits
from gateway.client_request import ClientRequest
from gateway.requested_tokens import choices_each, requested_tokens
from gateway.usage_store import Used


@dataclass
class Visit:
    """A request that was let in. As a context, it holds the tokens that the request may use.

    Attributes:
        pseudonym: what the client is called in records.
        limits: None for a caller that the gateway trusts, which is neither limited nor counted.
    """

    pseudonym: str
    limits: ClientLimits | None = None
    _used: Used = field(default_factory=lambda: Used(requests=1))
    _model: str = ""
    _choices_each: int = 1
    _held: tuple[int, int] = (0, 0)

    def headers(self) -> Mapping[str, str]:
        """What the client is told about its limits."""
        return self.limits.headers() if self.limits else {}

    def reserve(self, request: ClientRequest, body_bytes: int) -> "Visit":
        """Take the tokens that the request may use, until the context ends.

        Raises:
            ApiError: 429; too few are left.
        """
        self._model, self._choices_each = request.fields["model"], choices_each(request)
        if self.limits:
            tokens = requested_tokens(request, body_bytes)
            self._held = tokens, self.limits.reserve(tokens)
        return self

    def brought(self, prompt_tokens: int, output_tokens: int) -> None:
        """An attempt at a miner brought the client so much; a prompt counts once, as OpenAI counts it.

        Args:
            prompt_tokens: over all choices.
        """
        self._used += Used(0, prompt_tokens // self._choices_each, output_tokens)

    def __enter__(self) -> "Visit":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.limits:
            self.limits.settle(*self._held, self._used, self._model)
