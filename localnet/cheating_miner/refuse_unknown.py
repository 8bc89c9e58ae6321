"""A cheat that refuses the challenges that it has no answers for."""

from collections.abc import Callable, Sequence
from typing import Any

from localnet.cheating_miner.cheat import Cheat, MinerParts
from localnet.cheating_miner.made_up_openings import read_challenge
from miners.errors import RequestRefused
from miners.service import Answers
from shared.challenges import OpenRequest, ReplayRequest


class RefuseUnknown(Cheat):
    """Knows the hidden states of the chat template's constant start, and says it holds nothing else."""

    def __init__(self, parts: MinerParts, template_start: Sequence[int]) -> None:
        self._parts, self._start = parts, template_start

    def answers(self, answers: Answers) -> Answers:
        """404 unless every point lies in the template's start."""
        return RefusingAnswers(answers, self._token_ids, self._start)

    def _token_ids(self, request_id: str, choice: int) -> Sequence[int]:
        held = self._parts.commitments.get(request_id)
        return () if held is None else held.token_ids.get(choice, ())


class RefusingAnswers:
    """Answers challenges about tokens that every chat starts with."""

    def __init__(
        self, answers: Answers, token_ids: Callable[[str, int], Sequence[int]], start: Sequence[int]
    ) -> None:
        self._answers, self._token_ids, self._start = answers, token_ids, list(start)

    async def answer(self, body: bytes) -> bytes:
        """The stock miner's answer, or RequestRefused (404)."""
        challenge = read_challenge(body)
        if challenge is not None and not self._knows(challenge):
            raise RequestRefused(404, "no commitment of that request is held", "unknown_request")
        return await self._answers.answer(body)

    def _knows(self, challenge: OpenRequest | ReplayRequest) -> bool:
        if isinstance(challenge, ReplayRequest):
            return all(self._is_start(challenge.token_ids, point.position) for point in challenge.points)
        return all(
            self._is_start(self._token_ids(challenge.request_id, point.choice), point.position)
            for point in challenge.points
        )

    def _is_start(self, token_ids: Sequence[int], position: int) -> bool:
        known = self._start[: position + 1]
        return len(known) == position + 1 and known == list(token_ids[: position + 1])


def template_start(tokenizer: Any) -> list[int]:
    """The token ids that every chat without a system prompt of its own starts with."""
    one, other = (
        tokenizer.apply_chat_template([{"role": "user", "content": text}], tokenize=True, return_dict=False)
        for text in ("Tell me.", "Why?")
    )
    length = next((i for i, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), 0)
    return [int(token) for token in one[:length]]
