"""Whether what miners answered to challenges is theirs, and leads to what their receipts committed to."""

from collections.abc import Mapping
from itertools import zip_longest

from shared.canonical import canonical_json, sha256_hex
from shared.challenges import CHALLENGE_DOMAIN, OpenAnswer, OpenRequest, ReplayAnswer
from shared.errors import SignatureMismatch
from shared.receipts import Receipt
from shared.signing import check_signature
from validator.epoch_evidence import EpochRefused
from validator.findings import Finding
from validator.opening_checks import check_openings as opened_as_committed
from validator.published_rows import ChallengeAnswers, IssuedChallenge
from validator.replay_epoch import LoadedEpoch
from validator.replay_records import AskedTokens
from validator.request_state import RequestKey
from validator.verdicts import Verdict


def check_openings(epoch: LoadedEpoch, asked: Mapping[RequestKey, AskedTokens]) -> str:
    """Each challenge has one row of answers, signed by the miner, and they bear out what the verdict says.

    Args:
        asked: the tokens that published texts have at the opened places.

    Raises:
        EpochRefused: it is not so.
    """
    receipts = {one.key: one.receipt for one in epoch.records.facts if one.key in epoch.challenges}
    proven = untold = 0
    for key, answers in zip_longest(sorted(epoch.challenges), epoch.openings()):
        if answers is None or key is None or answers.key != key:
            name = (
                key[0] if answers is None or (key is not None and key < answers.key) else answers.request_id
            )
            raise EpochRefused("evidence", f"the answers to {name} are not one row for its challenge")
        receipt, verdict = receipts.get(key), epoch.verdicts.get(key)
        if receipt is None or verdict is None:
            continue
        tokens = asked.get(key)
        if fault := _fault(epoch.challenges[key], answers, receipt, verdict, tokens):
            raise EpochRefused("evidence", f"the answers to the challenge of {key[0]} {fault}")
        proven += len(answers.opened.openings) if answers.opened else 0
        untold += tokens is None
    words = f"{proven} openings are signed by their miners and lead to their receipts' Merkle roots"
    if untold:
        words += f"; of {untold} answers without text the tokens are taken from the openings"
    return words


def _fault(
    challenge: IssuedChallenge,
    answers: ChallengeAnswers,
    receipt: Receipt,
    verdict: Verdict,
    tokens: AskedTokens | None,
) -> str:
    opened, replayed = answers.opened, answers.replayed
    request = OpenRequest(request_id=challenge.request_id, points=challenge.points)
    digest = sha256_hex(canonical_json(request))
    fault = _unsigned(opened, answers.miner_hotkey, digest) or _unsigned(
        replayed, answers.miner_hotkey, tokens.replay_digest if tokens else None
    )
    return (
        fault
        or _missing(verdict, opened, replayed)
        or _uncommitted(challenge, opened, receipt, verdict, tokens)
    )


def _unsigned(answer: OpenAnswer | ReplayAnswer | None, hotkey: str, digest: str | None) -> str:
    """What is wrong with who signed an answer, and to which challenge; the auditor takes no other."""
    if answer is None:
        return ""
    if answer.hotkey != hotkey:
        return f"are by {answer.hotkey}, {hotkey} was asked"
    if digest is not None and answer.challenge_digest != digest:
        return "are to another challenge"
    try:
        check_signature(CHALLENGE_DOMAIN, answer, answer.signature or "", hotkey)
    except SignatureMismatch:
        return f"are not signed by {hotkey}"
    return ""


def _missing(verdict: Verdict, opened: OpenAnswer | None, replayed: ReplayAnswer | None) -> str:
    """Who compared something had both answers; who says that there was no answer lacks one."""
    compared = verdict.outcome == "pass" or bool(verdict.evidence)
    if compared and (opened is None or replayed is None):
        return "are missing, yet the verdict says that they were compared"
    if verdict.check == "answer" and opened is not None and replayed is not None:
        return "are there, yet the verdict says that there were none"
    return ""


def _uncommitted(
    challenge: IssuedChallenge,
    opened: OpenAnswer | None,
    receipt: Receipt,
    verdict: Verdict,
    tokens: AskedTokens | None,
) -> str:
    """Whether the openings lead to the receipt's root exactly when the verdict goes on from there."""
    if opened is None:
        return ""
    points = [one.point() for one in challenge.points]
    found = opened_as_committed(receipt, points, opened, tokens.at if tokens else _own_tokens(opened))
    failed_there = verdict.check == "opening"
    if isinstance(found, Finding):
        return "" if failed_there else f"do not open the commitment: {found.reason}"
    return "do open the commitment, yet the verdict says that they do not" if failed_there and tokens else ""


def _own_tokens(opened: OpenAnswer) -> Mapping[int, Mapping[int, int]]:
    """The tokens that the openings state themselves, where no text is published."""
    at: dict[int, dict[int, int]] = {}
    for one in opened.openings:
        at.setdefault(one.choice, {})[one.position] = one.token_id
    return at
