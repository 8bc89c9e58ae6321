"""The exceptions this project raises on purpose.

    ConstantinopleError
    ├── ConfigError            a flag, variable or file holds a value that is not allowed
    ├── MalformedMessage       bytes from a peer, the chain or the store are not what the protocol says
    ├── SignatureMismatch      a signature is missing, malformed or by another key
    ├── CommitmentMismatch     an opening does not lead to the committed Merkle root
    ├── ChainError             the chain refused a call, for a reason it named
    │   ├── RateLimited        it takes the call again from a block that is known
    │   └── ChainUnavailable   the chain could not be reached or did not answer in time
    │       └── OutcomeUnknown an extrinsic was sent, and may be on chain or not
    ├── StoreError             the object store failed or refused
    │   ├── ObjectMissing      no object of that name
    │   └── ObjectExists       a create-only write met an existing object
    ├── DownloadFailed         a URL can't be read, or serves too much or too slowly
    ├── ModelError             a model or calibration file is missing, damaged or not the expected one
    └── NotReproducible        what a client asked for can't be rebuilt by an auditor, so nothing can be said

Messages say what happened, to what, and what to do next.
"""


class ConstantinopleError(Exception):
    """Base of every exception that this project raises on purpose."""


class ConfigError(ConstantinopleError):
    """A flag, environment variable or configuration file holds a value that is not allowed."""


class MalformedMessage(ConstantinopleError):
    """Bytes from outside are not the message that the protocol asks for."""


class SignatureMismatch(ConstantinopleError):
    """A signature is missing, malformed, or made by another key than the claimed one."""


class CommitmentMismatch(ConstantinopleError):
    """An opening does not lead to the committed Merkle root."""


class ChainError(ConstantinopleError):
    """The chain refused a call.

    Attributes:
        code: the chain's own name of the error (``SettingWeightsTooFast`` …); the SDK's category
            (``not_registered`` …) where it refused before asking the chain; or "".
    """

    def __init__(self, message: str, code: str = "") -> None:
        super().__init__(message)
        self.code = code


class RateLimited(ChainError):
    """The chain takes this call of this hotkey only every so many blocks.

    Attributes:
        free_at_block: the first block in which it may be made again.
    """

    def __init__(self, message: str, code: str, free_at_block: int) -> None:
        super().__init__(message, code)
        self.free_at_block = free_at_block


class ChainUnavailable(ChainError):
    """The chain could not be reached, or did not answer in time."""


class OutcomeUnknown(ChainUnavailable):
    """An extrinsic was sent and its answer lost: look at the chain before it is sent again."""


class StoreError(ConstantinopleError):
    """The object store failed, or refused an operation.

    Attributes:
        code: the service's own name of the error (``AccessDenied`` …), or that of the failure on the way to
            it (``SSLError`` …); or "".
    """

    def __init__(self, message: str, code: str = "") -> None:
        super().__init__(message)
        self.code = code


class ObjectMissing(StoreError):
    """There is no object of that name."""


class ObjectExists(StoreError):
    """A create-only write met an object of that name."""


class DownloadFailed(ConstantinopleError):
    """A URL can't be read, answers with an error, or serves too much or too slowly."""


class ModelError(ConstantinopleError):
    """A model or calibration file is missing, damaged, or not the expected one."""


class NotReproducible(ConstantinopleError):
    """What a client asked for can't be rebuilt by an auditor: the miner is neither cleared nor to blame."""
