"""What a model is called in public, digests of what it is, and how much context it is served with."""

import hashlib
import json
from pathlib import Path
from typing import Any

from shared.canonical import canonical_json, sha256_hex
from shared.errors import ModelError

SAMPLING_FIELDS = (
    "repetition_penalty",
    "presence_penalty",
    "frequency_penalty",
    "temperature",
    "top_k",
    "top_p",
    "min_p",
)
"""What vLLM takes of `generation_config.json` for requests that do not say it (`get_diff_sampling_param`),
but for `max_new_tokens`."""

LEAST_CONTEXT_TOKENS = 2048
"""Context that every miner serves, where the model has so much: prompt and output together. An answer that
ends for its length with less, and before its `max_tokens`, was cut short."""

_CHUNK_BYTES = 1 << 22
_SMALL_FILES = ("*.json", "*.txt", "*.jinja")


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


def generation_digest(folder: Path) -> str:
    """SHA-256 of what a local model's `generation_config.json` says about drawing tokens and ending texts.

    Values are compared as they are written; other fields, and the file's being there at all, do not count.

    Raises:
        ModelError: the file can't be read, or is no JSON object.
    """
    stated = json_object(folder / "generation_config.json")
    taken = {name: stated.get(name) for name in (*SAMPLING_FIELDS, "max_new_tokens", "eos_token_id")}
    if isinstance(taken["eos_token_id"], int):
        taken["eos_token_id"] = [taken["eos_token_id"]]
    try:
        return sha256_hex(canonical_json({name: value for name, value in taken.items() if value is not None}))
    except ValueError as error:
        raise ModelError(f"{folder / 'generation_config.json'} holds no finite numbers: {error}") from None


def least_context_tokens(folder: Path) -> int:
    """The context that a miner of this local model has to serve: the model's own, if that is shorter.

    Raises:
        ModelError: the model's configuration can't be read.
    """
    own = context_tokens(folder)
    return LEAST_CONTEXT_TOKENS if own is None else min(own, LEAST_CONTEXT_TOKENS)


def context_tokens(folder: Path) -> int | None:
    """The longest context of a local model, prompt and output together; None when its files don't say.

    Raises:
        ModelError: the model's configuration can't be read.
    """
    own = json_object(folder / "config.json").get("max_position_embeddings")
    return own if isinstance(own, int) else None


def chat_templates(folder: Path) -> dict[str, str]:
    """The chat templates of a local model by name; the one for everything is "default".

    Raises:
        ModelError: a file can't be read.
    """
    file = folder / "chat_template.jinja"
    if file.is_file():
        return {"default": file.read_text(encoding="utf-8")}
    given = json_object(folder / "tokenizer_config.json").get("chat_template")
    if isinstance(given, str):
        return {"default": given}
    named = given if isinstance(given, list) else []
    return {one["name"]: one["template"] for one in named if isinstance(one, dict)}


def json_object(file: Path) -> dict[str, Any]:
    """A file's JSON object, an empty one when there is no file.

    Raises:
        ModelError: it can't be read, or holds something else.
    """
    try:
        value = json.loads(file.read_bytes())
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, RecursionError) as error:
        raise ModelError(f"{file} can't be read: {error}; get the model's own file again") from None
    if not isinstance(value, dict):
        raise ModelError(f"{file} holds no JSON object; get the model's own file again")
    return value


def _file_digest(file: Path) -> bytes:
    digest = hashlib.sha256()
    with file.open("rb") as stream:
        while chunk := stream.read(_CHUNK_BYTES):
            digest.update(chunk)
    return digest.digest()


def local_folder(model: str, weights: bool = True, fetch: bool = True) -> Path:
    """The folder that holds the model's files: the given one, or the hub's local snapshot.

    Args:
        weights: without, only the tokenizer and the configuration are fetched.
        fetch: without, what is not on this machine yet stays away.

    Raises:
        ModelError: the model is not on this machine, and can't be fetched.
    """
    path = Path(model).expanduser()
    if path.is_dir():
        return path
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

    try:
        wanted = [*_SMALL_FILES, "*.safetensors"] if weights else list(_SMALL_FILES)
        return Path(snapshot_download(model, allow_patterns=wanted, local_files_only=not fetch))
    except (LocalEntryNotFoundError, HfHubHTTPError, OSError, ValueError) as error:
        raise ModelError(
            f"the model {model} is neither a local folder nor to be had from the hub: {error}"
        ) from None
