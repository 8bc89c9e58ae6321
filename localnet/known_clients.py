"""What the auditor knows of localnet's clients before the first of them has called.

It sends requests of its own to miners that few clients reach, in the shapes that it has seen clients use. One
that has seen none begins with what chats look like in the world, whose answers of up to thousands of tokens
a CPU does not finish, so it is started with the shapes of the requests that localnet will send.
"""

import random
import secrets
from pathlib import Path

from localnet.traffic import chat_requests
from shared.inference_paths import CHAT_PATH
from validator.synthetic_reservoir import ENOUGH_SHAPES
from validator.synthetic_shapes import Identity, shape_of
from validator.synthetic_state import KEY_BYTES, STATE_FILE, SyntheticState, save_state

SHAPES = 2 * ENOUGH_SHAPES
"""More than the auditor needs to leave the published prior aside."""


def introduce_clients(state_folder: Path, model: str) -> None:
    """Write the auditor's state of synthetic traffic, unless it has one from an earlier run.

    Raises:
        OSError: it can't be written.
    """
    file = state_folder / STATE_FILE
    if file.exists():
        return
    key = secrets.token_bytes(KEY_BYTES)
    found = (
        shape_of(CHAT_PATH, body, Identity(key)) for body in chat_requests(model, SHAPES, random.Random(0))
    )
    shapes = tuple(shape for shape in found if shape is not None)
    save_state(SyntheticState(key=key.hex(), shapes=shapes), file)
