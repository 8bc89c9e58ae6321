"""What the auditor keeps of organic traffic from one start to the next: shapes and counts, and no text."""

import os
import secrets
from pathlib import Path
from typing import Annotated, Literal, Protocol

from pydantic import Field, ValidationError

from shared.canonical import canonical_json
from shared.errors import ConfigError
from shared.identifiers import Message
from shared.receipts import UnixMs
from shared.record_log import Cursor
from validator.documents import Documents
from validator.synthetic_shapes import Shape

STATE_FILE = "synthetic.json"
KEY_BYTES = 32

_OWNER_ONLY = 0o600


class SyntheticState(Message):
    """The file's content.

    Attributes:
        key: of the digests that recognise equal texts; 64 hexadecimal digits, made by this auditor.
        answered_at_ms: by miner's hotkey, when its last answers ended.
        own: digests of requests that the auditor sent and has not yet met in the log.
        workers: segment and offset up to which the log of each of the gateway's workers has been read.
    """

    version: Literal["synthetic/1"] = "synthetic/1"
    key: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
    segment: int = 0
    offset_bytes: int = 0
    shapes: tuple[Shape, ...] = ()
    answered_at_ms: dict[str, tuple[UnixMs, ...]] = Field(default_factory=dict)
    own: tuple[str, ...] = ()
    workers: dict[str, tuple[int, int]] = Field(default_factory=dict)

    @property
    def cursor(self) -> Cursor:
        """How far the record log has been read."""
        return Cursor(self.segment, self.offset_bytes)


def load_state(file: Path) -> SyntheticState:
    """The stored state, or that of a first start.

    Raises:
        ConfigError: the file can't be read or is damaged.
    """
    try:
        return SyntheticState.model_validate_json(file.read_bytes())
    except FileNotFoundError:
        return SyntheticState(key=secrets.token_hex(KEY_BYTES))
    except (OSError, ValidationError) as error:
        cure = "delete it: the auditor then learns anew what clients send"
        raise ConfigError(
            f"{file} can't be read as the state of synthetic traffic; {cure} ({error})"
        ) from None


def save_state(state: SyntheticState, file: Path) -> None:
    """Replace the file at once, so that a crash leaves the old one or the new one.

    Raises:
        OSError: it can't be written.
    """
    file.parent.mkdir(parents=True, exist_ok=True)
    new = file.with_suffix(".new")
    with os.fdopen(os.open(new, os.O_CREAT | os.O_TRUNC | os.O_WRONLY, _OWNER_ONLY), "wb") as output:
        output.write(canonical_json(state))
        output.flush()
        os.fsync(output.fileno())
    new.replace(file)


class StateKeeper(Protocol):
    """Where the state is kept."""

    def load(self) -> SyntheticState:
        """The stored state, or that of a first start.

        Raises:
            ConfigError: it can't be read.
        """
        ...

    def save(self, state: SyntheticState) -> None:
        """Store it in place of the one before.

        Raises:
            OSError, LeaseLost: it can't be stored, or not by this process any more.
        """
        ...


class StateFile:
    """The file of an auditor that is alone."""

    def __init__(self, file: Path) -> None:
        self._file = file

    def load(self) -> SyntheticState:
        return load_state(self._file)

    def save(self, state: SyntheticState) -> None:
        save_state(state, self._file)


class SharedState:
    """The database that auditors share; whoever leads goes on where the one before was.

    Args:
        file: what the first of them begins with.
    """

    def __init__(self, documents: Documents, file: Path) -> None:
        self._documents, self._file = documents, file

    def load(self) -> SyntheticState:
        stored = self._documents.get(STATE_FILE)
        return SyntheticState.model_validate_json(stored) if stored else load_state(self._file)

    def save(self, state: SyntheticState) -> None:
        self._documents.put(STATE_FILE, canonical_json(state).decode())
