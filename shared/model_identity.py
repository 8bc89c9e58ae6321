"""What a model is called in public, and a digest of what it is."""

import hashlib
from pathlib import Path

from shared.errors import ModelError

_CHUNK_BYTES = 1 << 22


def public_model_name(model: str) -> str:
    """The name clients use: a hub id as it is, a local folder by its last part."""
    path = Path(model).expanduser()
    return path.resolve().name if path.is_dir() else model


def model_digest(folder: Path) -> str:
    """SHA-256 over the weight files and the configuration of a local model, by file name and content.

    Raises:
        ModelError: the folder has no safetensors weights.
    """
    files = sorted(folder.glob("*.safetensors"))
    if not files:
        raise ModelError(f"{folder} holds no *.safetensors weights; point --model at a Hugging Face folder")
    total = hashlib.sha256()
    for file in [folder / "config.json", *files]:
        total.update(file.name.encode() + b"\x00" + _file_digest(file))
    return total.hexdigest()


def _file_digest(file: Path) -> bytes:
    digest = hashlib.sha256()
    with file.open("rb") as stream:
        while chunk := stream.read(_CHUNK_BYTES):
            digest.update(chunk)
    return digest.digest()


def local_folder(model: str) -> Path:
    """The folder that holds the model's files: the given one, or the hub's local snapshot.

    Raises:
        ModelError: the model is not on this machine.
    """
    path = Path(model).expanduser()
    if path.is_dir():
        return path
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

    try:
        return Path(snapshot_download(model, allow_patterns=["*.json", "*.safetensors", "*.txt", "*.jinja"]))
    except (LocalEntryNotFoundError, HfHubHTTPError, OSError, ValueError) as error:
        raise ModelError(
            f"the model {model} is neither a local folder nor to be had from the hub: {error}"
        ) from None
