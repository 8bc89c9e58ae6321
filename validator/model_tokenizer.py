"""The auditor's own tokenizer, which transformers loads."""

from transformers import AutoTokenizer, PreTrainedTokenizerBase

from shared.errors import ModelError


def load_tokenizer(model: str) -> PreTrainedTokenizerBase:
    """The tokenizer of a local folder or a hub id.

    Raises:
        ModelError: there is none that can be loaded.
    """
    try:
        tokenizer: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(model)
    except (OSError, ValueError, KeyError) as error:
        raise ModelError(f"the tokenizer of {model} can't be loaded: {error}") from None
    return tokenizer
