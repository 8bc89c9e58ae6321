"""A miner that answers from the public tables: what it has answered before, checked as when it came."""

from shared.canonical import canonical_json
from shared.challenges import Answer, OpenRequest, ReplayRequest
from shared.errors import MalformedMessage, SignatureMismatch
from validator.miner_client import Malformed, OpenOutcome, ReplayOutcome, check_authentic
from validator.published_rows import ChallengeAnswers

SILENT = "no valid answer is published"
"""A miner that did not answer can't be asked again: only the auditor has seen it."""


class PublishedMiner:
    """Answers the challenge of one audit; `validator.miner_client.Challenged`."""

    def __init__(self, answers: ChallengeAnswers | None) -> None:
        self._answers = answers

    async def open(self, challenge: OpenRequest, axon: str, hotkey: str) -> OpenOutcome:
        """The published openings, if they are this miner's answer to this challenge."""
        return _authentic(self._answers.opened if self._answers else None, challenge, hotkey)

    async def replay(self, challenge: ReplayRequest, axon: str, hotkey: str) -> ReplayOutcome:
        """The published vector, if it is this miner's answer to this challenge."""
        return _authentic(self._answers.replayed if self._answers else None, challenge, hotkey)


def _authentic(
    answer: Answer | None, challenge: OpenRequest | ReplayRequest, hotkey: str
) -> Answer | Malformed:
    if answer is None:
        return Malformed(SILENT)
    try:
        check_authentic(answer, canonical_json(challenge), hotkey)
    except (SignatureMismatch, MalformedMessage) as error:
        return Malformed(str(error))
    return answer
