"""Whether an epoch's records are those of its Merkle root, signed by their miners, and their texts theirs."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from shared.canonical import canonical_json, sha256_hex, token_ids_digest
from shared.challenges import ReplayPoint, ReplayRequest
from shared.errors import SignatureMismatch
from shared.merkle import MerkleTree
from shared.receipts import check_receipt
from shared.request_facts import RequestFacts
from validator.epoch_evidence import EpochRefused
from validator.published_rows import ChoiceText, IssuedChallenge, PublishedText
from validator.replay_epoch import LoadedEpoch
from validator.request_state import RequestKey


def check_records(epoch: LoadedEpoch) -> str:
    """The records are those that the root stands for, and every receipt belongs to one.

    Raises:
        EpochRefused: it is not so.
    """
    records, summary = epoch.records, epoch.summary
    if records.orphans:
        raise EpochRefused("records", f"the receipt of {records.orphans[0][0]} belongs to no record")
    for facts, computed, stated in zip(records.facts, records.hashes, records.stated, strict=True):
        if computed.hex() != stated:
            raise EpochRefused("records", f"the record of {facts.request_id} is not the one of its leaf")
    if len(records.facts) != summary.records:
        words = f"{len(records.facts)} records are published, the summary says {summary.records}"
        raise EpochRefused("records", words)
    root = MerkleTree.of_hashes(records.hashes).root.hex()
    if root != summary.records_root:
        raise EpochRefused(
            "records", f"the records lead to the Merkle root {root}, the summary has {summary.records_root}"
        )
    return f"{summary.records} records lead to the Merkle root {root[:16]}…; every receipt belongs to one"


def check_receipts(epoch: LoadedEpoch) -> str:
    """Receipts are signed by the hotkeys that they name; one that is not must have failed its audit.

    A miner is free to send a badly signed receipt, so one alone says nothing against the publisher.

    Raises:
        EpochRefused: an answer passed its audit with a receipt that is not signed by its miner.
    """
    signed = [one for one in epoch.records.facts if one.receipt is not None]
    bad = [one for one in signed if not _is_signed(one)]
    for facts in bad:
        verdict = epoch.verdicts.get(facts.key)
        if verdict and (verdict.outcome, verdict.check) != ("fail", "receipt"):
            raise EpochRefused(
                "receipts",
                f"the receipt of {facts.request_id} is not signed by {facts.miner_hotkey}, yet its audit "
                f"came to {verdict.outcome!r} by the check {verdict.check!r}",
            )
    without = sum(one.receipt is None and one.outcome == "answered" for one in epoch.records.facts)
    words = f"{len(signed) - len(bad)} receipts are signed by the hotkeys that they name"
    if bad:
        words += f", {len(bad)} are not ({bad[0].request_id} first; audited ones failed for it)"
    return words + (f"; {without} answers came without one" if without else "")


def _is_signed(facts: RequestFacts) -> bool:
    assert facts.receipt is not None
    if facts.receipt.hotkey != facts.miner_hotkey:
        return False
    try:
        check_receipt(facts.receipt)
    except SignatureMismatch:
        return False
    return True


@dataclass(frozen=True)
class AskedTokens:
    """What openings are held against: the tokens at opened places, and the digest of the replay's request."""

    at: Mapping[int, Mapping[int, int]]
    replay_digest: str


def check_texts(epoch: LoadedEpoch) -> tuple[str, Mapping[RequestKey, AskedTokens]]:
    """Texts are exactly those that the records announce, with their digests.

    Returns:
        What was found, and the tokens that the openings of audited answers are held against.

    Raises:
        EpochRefused: a text is missing, or is not the record's.
    """
    records = {one.key: one for one in epoch.records.facts if one.text_published}
    announced, asked = len(records), dict[RequestKey, AskedTokens]()
    for text in epoch.texts():
        facts = records.pop(text.key, None)
        if facts is None:
            raise EpochRefused("texts", f"there is a text of {text.request_id}, which its record denies")
        if fault := _text_fault(text, facts):
            raise EpochRefused("texts", f"the text of {text.request_id} {fault}")
        challenge = epoch.challenges.get(text.key)
        if challenge is not None:
            asked[text.key] = _asked_tokens(challenge, text.choices)
    if records:
        raise EpochRefused("texts", f"the text of {next(iter(records))[0]} is announced and not there")
    silent = sum(one.outcome == "answered" for one in epoch.records.facts) - announced
    return f"{announced} texts have the digests of their records; {silent} answers have none", asked


def _text_fault(text: PublishedText, facts: RequestFacts) -> str:
    if sha256_hex(text.request_body.encode()) != facts.request_digest:
        return "is another request than its record's"
    stated = [(one.index, one.prompt_digest, one.output_digest) for one in facts.choices]
    found = [(one.index, *_digests(one)) for one in text.choices]
    return "" if found == stated else "has other tokens than its record"


def _digests(choice: ChoiceText) -> tuple[str, str]:
    return token_ids_digest(choice.prompt_token_ids), token_ids_digest(choice.output_token_ids)


def _asked_tokens(challenge: IssuedChallenge, choices: Sequence[ChoiceText]) -> AskedTokens:
    token_ids = {one.index: (*one.prompt_token_ids, *one.output_token_ids) for one in choices}
    at: dict[int, dict[int, int]] = {index: {} for index in token_ids}
    for point in challenge.points:
        ids = token_ids.get(point.choice, ())
        if point.position < len(ids):
            at[point.choice][point.position] = ids[point.position]
    place = challenge.replay
    needed = token_ids.get(place.choice, ())[: place.position + 1]
    if not needed:
        return AskedTokens(at, "")
    asked = ReplayPoint(position=place.position, layer=place.layer)
    request = ReplayRequest(token_ids=needed, points=(asked,))
    return AskedTokens(at, sha256_hex(canonical_json(request)))
