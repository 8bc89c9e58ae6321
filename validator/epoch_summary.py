"""The published summary of an epoch, and the bytes of the files it names.

A summary names its files by digest and the summary before it by digest, and is signed: once it is
out, neither it nor anything before it can be changed unnoticed.
"""

from collections.abc import Sequence
from typing import Annotated, Literal, TypeVar

from pydantic import Field, ValidationError

from shared.canonical import canonical_json, sha256_hex
from shared.errors import MalformedMessage
from shared.identifiers import Hex32, Message, SignatureHex, Ss58
from shared.receipts import UnixMs
from shared.signing import Signer, check_signature, sign_message
from validator.audit_history import MinerHistory, carry_history
from validator.measurement import ChallengeBlock, EpochInputs, RegisteredMiner, Uid
from validator.open_refusals import OpenRefusal, open_refusals
from validator.probe_findings import ProbeFindings, probe_results
from validator.probe_rounds import ProbeRound
from validator.request_facts import RequestFacts
from validator.round_history import RoundHistory
from validator.scoring import MinerScore, score
from validator.scoring_config import ScoringConfig
from validator.verdicts import Verdict
from validator.weights import U16_MAX, weights_from_scores

EPOCH_DOMAIN = "epoch/1"
LATEST_KEY = "epochs/latest.json"
MAX_FILES = 64

EpochNumber = Annotated[int, Field(ge=1, lt=1 << 31)]


class FileDigest(Message):
    """A published file: key in the store, SHA-256, size in bytes and lines."""

    key: Annotated[str, Field(max_length=256)]
    sha256: Hex32
    size_bytes: Annotated[int, Field(ge=0)]
    lines: Annotated[int, Field(ge=0)]


class UidWeight(Message):
    """One weight as it goes to the chain."""

    uid: Uid
    weight: Annotated[int, Field(ge=1, le=U16_MAX)]


class EpochSummary(Message):
    """Everything an epoch came to. `block` is the newest block when it was scored."""

    version: Literal["epoch/4"] = "epoch/4"
    netuid: Annotated[int, Field(ge=0, lt=1 << 16)]
    model: Annotated[str, Field(max_length=256)]
    calibration_sha256: Hex32
    epoch: EpochNumber
    publisher: Ss58
    opened_at_ms: UnixMs
    closed_at_ms: UnixMs
    block: Annotated[int, Field(ge=0)]
    block_hash: Annotated[str, Field(max_length=66)]
    previous_digest: Hex32 | None
    """SHA-256 of the summary before this one; None for the first."""
    files: Annotated[tuple[FileDigest, ...], Field(max_length=MAX_FILES)]
    miners: tuple[RegisteredMiner, ...]
    challenge_blocks: tuple[ChallengeBlock, ...]
    """The blocks that answers of this epoch were drawn from, oldest first: with them anyone can repeat which
    answers had to be audited (`validator/audit_coverage.py`)."""
    audits_outstanding: Annotated[int, Field(ge=0)]
    """Answers that had to be audited and were not before the epoch had to be scored. Followers do not
    follow an epoch that has any."""
    history: tuple[MinerHistory, ...]
    """Audit results of earlier epochs and the sequential tests, as the summary before this one left them."""
    refusals: tuple[OpenRefusal, ...]
    """Refusals of the epoch before that another miner may make up for in this one, as that one left them."""
    scoring: ScoringConfig
    scores: tuple[MinerScore, ...]
    weights: tuple[UidWeight, ...]
    history_after: tuple[MinerHistory, ...]
    refusals_after: tuple[OpenRefusal, ...]
    round_secret: Hex32 | None
    """What this epoch's rounds of probes were drawn with; None when there could be none."""
    round_commitment: Hex32 | None
    """SHA-256 of the secret of the epoch after the next."""
    probes: ProbeFindings
    rounds_after: RoundHistory
    """The rounds that the next epoch starts with; what this one started with is in the summary before it."""
    signature: SignatureHex | None = None


class LatestEpoch(Message):
    """The pointer to the newest summary: its number and its SHA-256."""

    version: Literal["latest-epoch/1"] = "latest-epoch/1"
    epoch: EpochNumber
    digest: Hex32


class EpochResults(Message):
    """What follows from an epoch's inputs."""

    scores: tuple[MinerScore, ...]
    weights: tuple[UidWeight, ...]
    history_after: tuple[MinerHistory, ...]
    refusals_after: tuple[OpenRefusal, ...]
    probes: ProbeFindings
    rounds_after: RoundHistory


def results_of(inputs: EpochInputs, config: ScoringConfig) -> EpochResults:
    """Scores, weights, what probes found, and all that the next epoch starts with."""
    probed = probe_results(inputs, config)
    scores = tuple(score(inputs, config, probed.findings))
    return EpochResults(
        scores=scores,
        weights=tuple(UidWeight(uid=uid, weight=value) for uid, value in weights_from_scores(scores).items()),
        history_after=carry_history(inputs.history, inputs.epoch, inputs.verdicts, config),
        refusals_after=open_refusals(inputs.requests),
        probes=probed.findings,
        rounds_after=probed.rounds_after,
    )


def summary_key(epoch: int) -> str:
    """Where the summary of an epoch lies in the store."""
    return f"epochs/{epoch}.json"


def requests_key(epoch: int) -> str:
    """Where the reduced records of an epoch lie, one JSON line each."""
    return f"epochs/{epoch}/requests.jsonl"


def verdicts_key(epoch: int) -> str:
    """Where the verdicts of an epoch lie, one JSON line each."""
    return f"epochs/{epoch}/verdicts.jsonl"


def rounds_key(epoch: int) -> str:
    """Where the rounds of probes of an epoch lie, one JSON line each."""
    return f"epochs/{epoch}/rounds.jsonl"


def epoch_files(
    epoch: int,
    requests: Sequence[RequestFacts],
    verdicts: Sequence[Verdict],
    rounds: Sequence[ProbeRound] = (),
) -> dict[str, bytes]:
    """The files of an epoch by key, lines in the order of (request id, miner's hotkey), rounds by block."""
    held = sorted(rounds, key=lambda one: one.block)
    return {
        requests_key(epoch): _lines(requests),
        verdicts_key(epoch): _lines(verdicts),
        rounds_key(epoch): b"".join(canonical_json(one) + b"\n" for one in held),
    }


def _lines(messages: Sequence[RequestFacts] | Sequence[Verdict]) -> bytes:
    ordered = sorted(messages, key=lambda one: (one.request_id, one.miner_hotkey))
    return b"".join(canonical_json(message) + b"\n" for message in ordered)


def file_digests(files: dict[str, bytes]) -> tuple[FileDigest, ...]:
    """What a summary says about its files, by key."""
    return tuple(
        FileDigest(key=key, sha256=sha256_hex(data), size_bytes=len(data), lines=data.count(b"\n"))
        for key, data in sorted(files.items())
    )


def seal(summary: EpochSummary, signer: Signer) -> bytes:
    """The signed summary as it is published.

    Raises:
        ValueError: the summary names another publisher than the signer.
    """
    if summary.publisher != signer.ss58_address:
        raise ValueError(f"the summary names {summary.publisher}, the signer is {signer.ss58_address}")
    signature = sign_message(signer, EPOCH_DOMAIN, summary)
    return canonical_json(summary.model_copy(update={"signature": signature}))


def check_summary_signature(summary: EpochSummary) -> None:
    """Check that the publisher that the summary names signed it.

    Raises:
        SignatureMismatch: it did not, or there is no signature.
    """
    check_signature(EPOCH_DOMAIN, summary, summary.signature or "", summary.publisher)


Parsed = TypeVar("Parsed", bound=Message)


def parse_message(kind: type[Parsed], data: bytes | str, name: str) -> Parsed:
    """A message from JSON.

    Raises:
        MalformedMessage: it is not one; `name` and the first offending field are named.
    """
    try:
        return kind.model_validate_json(data)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        place = ".".join(str(part) for part in first["loc"]) or "the whole text"
        raise MalformedMessage(f"{name} is not what it should be: {place}: {first['msg']}") from None


def parse_lines(kind: type[Parsed], data: bytes, name: str) -> list[Parsed]:
    """Messages from JSON lines.

    Raises:
        MalformedMessage: a line is not one; the line is named.
    """
    return [
        parse_message(kind, line, f"{name} line {number}")
        for number, line in enumerate(data.splitlines(), start=1)
    ]
