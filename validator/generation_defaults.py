"""What a model's own files say about generating: default sampling parameters, and tokens that end a text."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from transformers import AutoConfig, GenerationConfig

from shared.errors import ModelError
from shared.model_identity import (
    LEAST_CONTEXT_TOKENS,
    SAMPLING_FIELDS,
    least_context_tokens,
    local_folder,
)
from validator.model_tokenizer import load_tokenizer


@dataclass(frozen=True)
class GenerationDefaults:
    """What vLLM fills in where a request says nothing, under `--generation-config auto`, its default.

    Attributes:
        sampling: defaults by a request's field name; what is missing has vLLM's neutral value.
        max_tokens: of chats that name none; None when only the context bounds them.
        eos_token_ids: ends of text: the tokenizer's and those that the generation config names.
        encode: text → token ids without special tokens, for `bad_words`.
        context_limit: tokens of prompt and output from which on an answer may end for its length.
    """

    sampling: Mapping[str, float]
    max_tokens: int | None
    eos_token_ids: frozenset[int]
    encode: Callable[[str], list[int]]
    context_limit: int = LEAST_CONTEXT_TOKENS

    @classmethod
    def load(cls, model: str) -> "GenerationDefaults":
        """From a local folder or a hub id.

        Raises:
            ModelError: the model's tokenizer or configuration can't be loaded.
        """
        tokenizer: Any = load_tokenizer(model)
        generation = _generation_config(model)
        named = {name: generation.get(name) for name in SAMPLING_FIELDS}
        return cls(
            sampling={name: value for name, value in named.items() if value is not None},
            max_tokens=generation.get("max_new_tokens"),
            eos_token_ids=_token_ids(tokenizer.eos_token_id) | _token_ids(generation.get("eos_token_id")),
            encode=lambda text: list(tokenizer.encode(text, add_special_tokens=False)),
            context_limit=least_context_tokens(local_folder(model)),
        )


def _generation_config(model: str) -> dict[str, Any]:
    """What differs from transformers' own values, in `generation_config.json`, else in `config.json`."""
    try:
        config = GenerationConfig.from_pretrained(model)
    except OSError:
        config = _from_model_config(model)
    found: dict[str, Any] = config.to_diff_dict()
    return found


def _from_model_config(model: str) -> Any:
    try:
        return GenerationConfig.from_model_config(AutoConfig.from_pretrained(model))
    except (OSError, ValueError) as error:
        raise ModelError(f"the configuration of {model} can't be loaded: {error}") from None


def _token_ids(value: Any) -> frozenset[int]:
    if value is None:
        return frozenset()
    return frozenset([value] if isinstance(value, int) else value)
