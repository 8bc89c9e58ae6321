"""What the SDK raises, and what it means: the chain said no, or nobody said anything that makes sense."""

from bittensor._transport.errors import SubstrateRequestException
from bittensor.result import BittensorError, ConnectionNotReady, RpcConnectionError
from bittensor.result import ChainError as SdkChainError
from websockets.exceptions import WebSocketException

from shared.chain_network import Endpoint
from shared.chain_refusals import code_of
from shared.errors import ChainError, ChainUnavailable

SDK_FAILURES = (
    BittensorError,
    SubstrateRequestException,
    WebSocketException,
    OSError,
    TimeoutError,
    ValueError,
    LookupError,
    TypeError,
    AttributeError,
    AssertionError,
    ArithmeticError,
    RuntimeError,
)
"""What the SDK raises, also over answers that are not what it expects: it checks few of them."""


class NodeRefused(ChainError):
    """A node answered, and named an error."""


def is_word_of_the_chain(error: BaseException) -> bool:
    """Whether a node answered, and said no; everything else is silence, or not understood."""
    if isinstance(error, RpcConnectionError | ConnectionNotReady):
        return False
    if isinstance(error, SdkChainError):
        cause = error.__cause__
        return not isinstance(cause, SubstrateRequestException) or _node_said(cause)
    return isinstance(error, BittensorError)


def _node_said(cause: SubstrateRequestException) -> bool:
    if cause.payload is not None:
        return "error" in cause.payload
    return type(cause) is not SubstrateRequestException


def refused(what: str, error: BaseException) -> NodeRefused:
    """Our error for a refusal."""
    code = code_of(error) if isinstance(error, SdkChainError) else ""
    return NodeRefused(f"{what} was refused by the chain: {error}", code)


def unavailable(what: str, endpoint: Endpoint, error: BaseException) -> ChainUnavailable:
    """Our error for silence."""
    return ChainUnavailable(f"{what} failed at {endpoint.shown}: {str(error) or type(error).__name__}")
