"""Which miner served a conversation so far: its cache holds the conversation's beginning.

A prompt is a chain of segments: the messages of a chat, or blocks of a text. The digest of everything that
was sent is kept with the miner that answered it; the next turn's prompt begins with just that. Digests
begin with the client's name, so no client's conversations are found by, or lead to, another's.
"""

import hashlib
from collections import OrderedDict
from collections.abc import Sequence
from typing import NamedTuple

import orjson

from gateway.client_request import ClientRequest
from shared.inference_paths import CHAT_PATH

MOST_CONVERSATIONS = 50_000
"""Digests that are kept, some 12 MB; the one that was used longest ago is forgotten first."""

MOST_LOOKED_UP = 64
"""Beginnings of a prompt that are looked for, the longest first: a client goes on from its last turn or,
where it took some back, from one not long before."""

BLOCK_BYTES = 1024
"""Of a prompt that is one text: about 256 tokens, sixteen blocks of an engine's prefix cache."""

LEAST_FAMILIAR_BYTES = 256
"""About 64 tokens (`CONTINUED_TOKENS` in `validator/comparison.py`): prefilling fewer takes less time than
the network does."""

_DIGEST_BYTES = 16


class Prompt(NamedTuple):
    """A prompt as routing sees it.

    Attributes:
        size_bytes: of all its messages or of its text.
        beginnings: (digest, bytes) of its last beginnings that end with a segment, the shortest first; none
            of a request with several prompts.
    """

    size_bytes: int
    beginnings: Sequence[tuple[bytes, int]] = ()


class Familiar(NamedTuple):
    """The miner that has a prompt's beginning in its cache, and which share of the prompt that is."""

    hotkey: str
    share: float


def prompt_of(request: ClientRequest, client: str) -> Prompt:
    """The prompt of a request of that client."""
    if request.path == CHAT_PATH:
        messages = [orjson.dumps(message) for message in request.fields["messages"]]
        return Prompt(sum(map(len, messages)), _beginnings(messages, client))
    prompt = request.fields["prompt"]
    if isinstance(prompt, list) and not isinstance(prompt[0], int):
        return Prompt(len(orjson.dumps(prompt)))
    text = prompt.encode() if isinstance(prompt, str) else orjson.dumps(prompt)[:-1]
    whole_blocks = range(0, len(text) - BLOCK_BYTES + 1, BLOCK_BYTES)
    return Prompt(len(text), _beginnings([text[at : at + BLOCK_BYTES] for at in whole_blocks], client))


def _beginnings(segments: Sequence[bytes], client: str) -> Sequence[tuple[bytes, int]]:
    digest, size = hashlib.blake2b(client.encode(), digest_size=_DIGEST_BYTES), 0
    found = []
    for place, segment in enumerate(segments):
        digest.update(segment)
        size += len(segment)
        if place >= len(segments) - MOST_LOOKED_UP:
            found.append((digest.digest(), size))
    return found


class Affinity:
    """Remembers who served which conversation."""

    def __init__(self, most: int = MOST_CONVERSATIONS) -> None:
        self._most = most
        self._hotkeys: OrderedDict[bytes, str] = OrderedDict()

    def __len__(self) -> int:
        return len(self._hotkeys)

    def familiar(self, prompt: Prompt) -> Familiar | None:
        """Who served the longest known beginning of `prompt`, if that is worth anything."""
        for digest, size in reversed(prompt.beginnings):
            if size < LEAST_FAMILIAR_BYTES:
                return None
            hotkey = self._hotkeys.get(digest)
            if hotkey is not None:
                self._hotkeys.move_to_end(digest)
                return Familiar(hotkey, size / prompt.size_bytes)
        return None

    def served(self, prompt: Prompt, hotkey: str) -> None:
        """The miner of that hotkey has answered `prompt`."""
        if not prompt.beginnings or prompt.beginnings[-1][1] < LEAST_FAMILIAR_BYTES:
            return
        digest, _ = prompt.beginnings[-1]
        self._hotkeys[digest] = hotkey
        self._hotkeys.move_to_end(digest)
        if len(self._hotkeys) > self._most:
            self._hotkeys.popitem(last=False)
