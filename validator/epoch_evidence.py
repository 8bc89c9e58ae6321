"""Whether an epoch's requests and verdicts can be true together; and the exception of a refused epoch.

Every reason to refuse has a name, so that an operator and a test can tell them apart.
"""

from collections.abc import Sequence
from typing import Literal

from shared.errors import ConstantinopleError
from shared.honest_noise import HonestNoise
from validator.challenge_selection import challenge_seed
from validator.known_calibration import KnownCalibration
from validator.measurement import EpochInputs
from validator.verdict_weight import weight_fault
from validator.verdicts import Verdict

RefusalCause = Literal[
    "pointer", "digest", "format", "signature", "publisher", "subnet", "stale", "replayed", "rewritten",
    "chain", "file", "records", "receipts", "texts", "calibration", "evidence",
    "history", "constants", "scores", "weights", "re-audit",
]  # fmt: skip


class EpochRefused(ConstantinopleError):
    """A published epoch must not be followed. `cause` names the check that failed."""

    def __init__(self, cause: RefusalCause, message: str) -> None:
        super().__init__(message)
        self.cause = cause


def noise_of(calibration: KnownCalibration | None, sha256: str) -> HonestNoise | None:
    """What p-values are recomputed with, given which calibration file an epoch was audited with.

    Raises:
        EpochRefused: it is not the follower's.
    """
    if calibration is None:
        return None
    if calibration.sha256 != sha256:
        raise EpochRefused(
            "calibration",
            f"the epoch was audited with the calibration file {sha256[:16]}, known here is "
            f"{calibration.sha256[:16]}: start again with the network's present one (--calibration)",
        )
    return calibration.noise


def check_evidence(inputs: EpochInputs, noise: HonestNoise | None = None) -> None:
    """No request or verdict twice, every verdict about an answer, drawn as it must be and weighed as it says.

    Args:
        noise: of the network's calibration file, where the follower has it.

    Raises:
        EpochRefused: something is not so.
    """
    check_listed(inputs)
    check_seeds(inputs)
    check_weighed(inputs.verdicts, noise)


def check_listed(inputs: EpochInputs) -> None:
    """No request, verdict or uid twice, and every verdict about an answer.

    Raises:
        EpochRefused: it is not so.
    """
    requests = {request.key: request for request in inputs.requests}
    judged = {(one.request_id, one.miner_hotkey) for one in inputs.verdicts}
    if len(requests) != len(inputs.requests) or len(judged) != len(inputs.verdicts):
        raise EpochRefused("evidence", "a request or a verdict is listed twice")
    if len({one.uid for one in inputs.miners}) != len(inputs.miners):
        raise EpochRefused("evidence", "a uid is listed twice")
    for verdict in inputs.verdicts:
        request = requests.get((verdict.request_id, verdict.miner_hotkey))
        if request is None or request.outcome != "answered":
            raise EpochRefused("evidence", f"the verdict on {verdict.request_id} is about no answer")


def check_seeds(inputs: EpochInputs) -> None:
    """Every challenge's seed comes from the block that its verdict names and from the answer's receipt.

    Raises:
        EpochRefused: one does not.
    """
    receipts = {request.key: request.receipt for request in inputs.requests if request.receipt}
    for verdict in inputs.verdicts:
        receipt = receipts.get((verdict.request_id, verdict.miner_hotkey))
        if receipt is None:
            continue
        if challenge_seed(verdict.challenge_block_hash, receipt.signature) != verdict.challenge_seed:
            raise EpochRefused("evidence", f"the challenge of {verdict.request_id} was not drawn by the rule")


def check_weighed(verdicts: Sequence[Verdict], noise: HonestNoise | None = None) -> None:
    """Every verdict's outcome, check and weight follow from the evidence that it states.

    Raises:
        EpochRefused: one does not.
    """
    for verdict in verdicts:
        fault = weight_fault(verdict, noise)
        if fault is not None:
            raise EpochRefused("evidence", f"the audit of {verdict.request_id} {fault}")
