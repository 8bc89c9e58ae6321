"""The published summary of an epoch.

A summary names its files by digest and the summary before it by digest, and is signed: once it is
out, neither it nor anything before it can be changed unnoticed.
"""

from typing import Annotated, Literal, TypeVar

from pydantic import Field, ValidationError

from shared.canonical import canonical_json
from shared.dataset import MAX_FILES, FileDigest
from shared.errors import MalformedMessage
from shared.identifiers import Hex32, Message, SignatureHex, Ss58, Whole
from shared.receipts import UnixMs
from shared.signing import Signer, check_signature, sign_message
from validator.audit_history import MinerHistory, carry_history
from validator.epoch_tables import UidWeight
from validator.measurement import ChallengeBlock, EpochInputs, RegisteredMiner
from validator.open_refusals import OpenRefusal, open_refusals
from validator.probe_findings import ProbeFindings, probe_results
from validator.round_history import RoundHistory
from validator.scoring import MinerScore, score
from validator.scoring_config import ScoringConfig
from validator.weights import weights_from_scores

EPOCH_DOMAIN = "epoch/1"
LATEST_KEY = "epochs/latest.json"

EpochNumber = Annotated[int, Field(ge=1, lt=1 << 31)]


class EpochSummary(Message):
    """Everything an epoch came to. `block` is the newest block when it was scored."""

    version: Literal["epoch/5"] = "epoch/5"
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
    manifest_sha256: Hex32
    """Of `epochs/<n>/manifest.json`, which describes the same files."""
    records: Whole
    records_root: Hex32
    """Root of the Merkle tree over the epoch's records (`shared.request_facts.RequestFacts.leaf`)."""
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
