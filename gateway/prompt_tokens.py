"""The served model's own tokenizer, in a thread of its own, and the context that the model is served with."""

import asyncio
import logging
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from shared.errors import ModelError
from shared.model_identity import context_tokens, local_folder
from shared.prompt_rendering import PromptRenderer
from shared.text_tokenizer import TextTokenizer

log = logging.getLogger(__name__)

MOST_WAITING = 16
"""Bodies that wait for the thread at once: of the largest, 4 MB, each takes some seconds."""

Result = TypeVar("Result")


@dataclass(frozen=True)
class _Loaded:
    tokenizer: TextTokenizer
    renderer: PromptRenderer
    context: int | None


class PromptTokens:
    """Counts what a prompt has in tokens, as miners will; without the model's files it can't, and says so.

    Args:
        model: a local folder or a hub name.
        context: tokens of prompt and output together, if not what the model's own files say.

    Attributes:
        unavailable: why nothing can be counted; empty when it can be.
    """

    def __init__(self, model: str, context: int | None) -> None:
        self._model, self._given_context = model, context
        self._loaded: _Loaded | None = None
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="tokenizer")
        self._waiting = 0
        self.unavailable = "the model's tokenizer is still being loaded"

    @property
    def context(self) -> int | None:
        """The longest context of a request; None while nobody has said it."""
        if self._given_context is not None or self._loaded is None:
            return self._given_context
        return self._loaded.context

    @property
    def ready(self) -> bool:
        """Whether something more can be counted now."""
        return self._loaded is not None and self._waiting < MOST_WAITING

    async def load(self) -> None:
        """Load the tokenizer; a model that has none here is served all the same."""
        try:
            self._loaded = await asyncio.get_running_loop().run_in_executor(self._thread, self._load)
        except ModelError as error:
            self.unavailable = f"the tokenizer of {self._model} is not to be had here"
            log.warning(
                "prompts are not counted before miners see them, and /tokenize is not served: %s; "
                "point --model at the model's folder",
                error,
            )
            return
        self.unavailable = ""
        log.info("prompts are counted with the tokenizer of %s; context: %s", self._model, self.context)

    def _load(self) -> _Loaded:
        folder: Path = local_folder(self._model, weights=False)
        tokenizer = TextTokenizer.load(folder)
        return _Loaded(tokenizer, PromptRenderer(tokenizer), context_tokens(folder))

    async def use(self, work: Callable[[TextTokenizer, PromptRenderer], Result]) -> Result:
        """Do `work` in the tokenizer's thread; it must be `ready`."""
        loaded = self._loaded
        assert loaded is not None
        self._waiting += 1
        try:
            run = asyncio.get_running_loop().run_in_executor
            return await run(self._thread, work, loaded.tokenizer, loaded.renderer)
        finally:
            self._waiting -= 1

    def close(self) -> None:
        """End the thread, once what it does now is done."""
        self._thread.shutdown(wait=False, cancel_futures=True)
