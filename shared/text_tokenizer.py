"""A model's tokenizer and chat template without transformers: its `tokenizer.json`, read by the same library.

Importing transformers brings torch, 400 MB in each process; this takes as much as the vocabulary.
"""

import copy
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer

from shared.errors import ModelError
from shared.model_identity import chat_templates, json_object
from shared.template_environment import compiled_template

_SPECIAL_TOKENS = ("bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token")
"""What templates may read under these names."""

_CONTINUED_HERE = "CONTINUE_FINAL_MESSAGE_TAG "
"""Marks where a message that is to be continued ends; as in transformers, blank included."""


class TextTokenizer:
    """Text to token ids and back, and conversations to text.

    Args:
        templates: chat templates by name; the one that is used is "default", with tools "tool_use" if there.
        special: texts of special tokens by their role.
    """

    def __init__(
        self, tokenizer: Tokenizer, templates: Mapping[str, str], special: Mapping[str, str]
    ) -> None:
        self._tokenizer, self._templates, self._special = tokenizer, templates, special

    @classmethod
    def load(cls, folder: Path) -> "TextTokenizer":
        """From a Hugging Face folder.

        Raises:
            ModelError: it has no `tokenizer.json`, or a file in it is damaged.
        """
        file = folder / "tokenizer.json"
        if not file.is_file():
            raise ModelError(f"{folder} has no tokenizer.json; get the model's own file again")
        try:
            tokenizer = Tokenizer.from_file(str(file))
        except Exception as error:  # noqa: BLE001  the library raises nothing narrower
            raise ModelError(f"{file} can't be read: {error}; get the model's own file again") from None
        tokenizer.no_truncation()
        tokenizer.no_padding()
        return cls(tokenizer, chat_templates(folder), _special_tokens(folder))

    @property
    def size(self) -> int:
        """Number of tokens in the vocabulary, added ones included; ids are below it."""
        return self._tokenizer.get_vocab_size(with_added_tokens=True)

    def __call__(self, text: str, add_special_tokens: bool = True) -> dict[str, list[int]]:
        """Token ids of a text, under the name `input_ids`."""
        # Only the batch call lets other threads run meanwhile.
        [encoding] = self._tokenizer.encode_batch_fast([text], add_special_tokens=add_special_tokens)
        return {"input_ids": encoding.ids}

    def text(self, token_ids: Sequence[int]) -> str:
        """The text of token ids, special tokens included."""
        return self._tokenizer.decode(list(token_ids), skip_special_tokens=False)

    def tokens(self, token_ids: Sequence[int]) -> list[str | None]:
        """The vocabulary's entry of each id, in the vocabulary's own spelling; None where it has none."""
        return [self._tokenizer.id_to_token(token_id) for token_id in token_ids]

    def get_chat_template(self, name: str | None = None, tools: Sequence[Any] | None = None) -> str:
        """The template for a conversation.

        Raises:
            ValueError: there is none.
        """
        if tools is not None and "tool_use" in self._templates:
            return self._templates["tool_use"]
        if "default" not in self._templates:
            raise ValueError("its tokenizer has no chat template")
        return self._templates["default"]

    def apply_chat_template(
        self,
        messages: Sequence[Mapping[str, Any]],
        tools: Sequence[Any] | None = None,
        documents: Sequence[Any] | None = None,
        chat_template: str | None = None,
        add_generation_prompt: bool = False,
        continue_final_message: bool = False,
        tokenize: bool = False,
        **arguments: Any,
    ) -> str:
        """The text of a conversation.

        Raises:
            jinja2.TemplateError: the template is not valid, or refuses the conversation.
            ValueError: the last message can't be continued, or tokens are asked for.
        """
        if tokenize:
            raise ValueError("conversations are rendered as text here; tokenise it afterwards")
        source = chat_template or self.get_chat_template(None, tools)
        if continue_final_message and "content" not in source:
            raise ValueError("the chat template reads no content that could be continued")
        template = compiled_template(source)
        chat = _with_mark(messages) if continue_final_message else list(messages)
        text = template.render(
            messages=chat,
            tools=tools,
            documents=documents,
            add_generation_prompt=add_generation_prompt,
            **{**self._special, **arguments},
        )
        return _before_mark(text) if continue_final_message else text


def _with_mark(messages: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    chat = copy.deepcopy([dict(message) for message in messages])
    content = chat[-1].get("content") if chat else None
    if isinstance(content, str):
        chat[-1]["content"] = content + _CONTINUED_HERE
        return chat
    texts = [part for part in content or () if isinstance(part, dict) and "text" in part]
    if not texts:
        raise ValueError("the last message has no text that could be continued")
    texts[-1]["text"] += _CONTINUED_HERE
    return chat


def _before_mark(text: str) -> str:
    place = text.rfind(_CONTINUED_HERE.strip())
    if place < 0:
        raise ValueError("the chat template leaves out the message that is to be continued")
    spaced = text.startswith(_CONTINUED_HERE, place)
    return text[:place] if spaced else text[:place].rstrip()


def _special_tokens(folder: Path) -> dict[str, str]:
    known = {
        **json_object(folder / "special_tokens_map.json"),
        **json_object(folder / "tokenizer_config.json"),
    }
    given = {name: known.get(name) for name in _SPECIAL_TOKENS}
    texts = {name: one.get("content") if isinstance(one, dict) else one for name, one in given.items()}
    return {name: text for name, text in texts.items() if isinstance(text, str)}
