"""The two paths of OpenAI's API that carry inference."""

from typing import Final

CHAT_PATH: Final = "/v1/chat/completions"
COMPLETIONS_PATH: Final = "/v1/completions"
INFERENCE_PATHS = frozenset({CHAT_PATH, COMPLETIONS_PATH})
