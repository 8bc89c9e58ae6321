"""Which positions of a request a miner commits to: drawn from the request id, by everybody alike."""

import hashlib

STRATUM_TOKENS = 16
"""One committed position in each run of this many tokens (about 6 % of all positions)."""

PROMPT_TAIL_TOKENS = 16
"""The last prompt tokens, from which the first positions are drawn: the part that a prefix cache
rarely covers and that no constant template alone determines."""

PROMPT_TAIL_DRAWS = 4
"""Positions drawn from the prompt's tail, its last token always among them."""


def _draw(request_id: str, choice: int, label: str, number: int, below: int) -> int:
    message = f"constantinople/positions/1|{request_id}|{choice}|{label}|{number}".encode()
    return int.from_bytes(hashlib.blake2b(message, digest_size=8).digest(), "little") % below


def _prompt_tail(request_id: str, choice: int, prompt_tokens: int) -> set[int]:
    tail = min(PROMPT_TAIL_TOKENS, prompt_tokens)
    first = prompt_tokens - tail
    candidates = list(range(first, prompt_tokens - 1))
    chosen = {prompt_tokens - 1}
    for number in range(min(PROMPT_TAIL_DRAWS, tail) - 1):
        chosen.add(candidates.pop(_draw(request_id, choice, "tail", number, len(candidates))))
    return chosen


class CommittedPositions:
    """The committed positions of one choice of one request.

    Positions count from 0 over prompt and output together. Both sides can ask while the output
    is still growing, because a position's membership never depends on the final length.

    Raises:
        ValueError: the prompt has no token.
    """

    def __init__(self, request_id: str, choice: int, prompt_tokens: int) -> None:
        if prompt_tokens < 1:
            raise ValueError(f"request {request_id}: a prompt has at least one token, got {prompt_tokens}")
        self._request_id = request_id
        self._choice = choice
        self._tail = _prompt_tail(request_id, choice, prompt_tokens)

    def within(self, start: int, stop: int) -> list[int]:
        """Committed positions p with start <= p < stop, ascending."""
        chosen = {position for position in self._tail if start <= position < stop}
        for stratum in range(start // STRATUM_TOKENS, (stop - 1) // STRATUM_TOKENS + 1):
            offset = _draw(self._request_id, self._choice, "stratum", stratum, STRATUM_TOKENS)
            position = stratum * STRATUM_TOKENS + offset
            if start <= position < stop:
                chosen.add(position)
        return sorted(chosen)


def committed_positions(
    request_id: str, choice: int, prompt_tokens: int, output_tokens: int, cached_tokens: int
) -> list[int]:
    """All positions a receipt must cover, ascending.

    The last output token is never an input of the forward pass, so it has no hidden state;
    positions below `cached_tokens` came from the prefix cache and were not computed.
    """
    computed = prompt_tokens + max(output_tokens - 1, 0)
    return CommittedPositions(request_id, choice, prompt_tokens).within(cached_tokens, computed)
