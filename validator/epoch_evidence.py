"""Whether an epoch's requests and verdicts can be true together; and the exception of a refused epoch.

Every reason to refuse has a name, so that an operator and a test can tell them apart.
"""

import math
from typing import Literal

from shared.errors import ConstantinopleError
from validator.challenge_selection import challenge_seed
from validator.evidence import log_e_value
from validator.measurement import EpochInputs
from validator.verdicts import Verdict

LOG_E_TOLERANCE = 1e-9
"""Logarithms of one number may differ in their last bits from machine to machine."""

RefusalCause = Literal[
    "pointer", "digest", "format", "signature", "publisher", "subnet", "stale", "replayed", "rewritten",
    "chain", "file", "evidence", "history", "constants", "scores", "weights",
]  # fmt: skip


class EpochRefused(ConstantinopleError):
    """A published epoch must not be followed. `cause` names the check that failed."""

    def __init__(self, cause: RefusalCause, message: str) -> None:
        super().__init__(message)
        self.cause = cause


def check_evidence(inputs: EpochInputs) -> None:
    """No request or verdict twice, every verdict about an answer, every challenge drawn as it must be.

    Raises:
        EpochRefused: something is not so.
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
        signature = request.receipt.signature if request.receipt else None
        seed = challenge_seed(verdict.challenge_block_hash, signature or "")
        if signature and seed != verdict.challenge_seed:
            raise EpochRefused("evidence", f"the challenge of {verdict.request_id} was not drawn by the rule")
        _check_weight(verdict)


def _check_weight(verdict: Verdict) -> None:
    """A pass weighs what its statistics say and an inconclusive audit nothing.

    A failed one may weigh more than its statistics: exact checks have weights of their own.
    """
    expected = log_e_value(verdict.evidence) if verdict.outcome == "pass" else 0.0
    if verdict.outcome != "fail" and not math.isclose(verdict.log_e, expected, abs_tol=LOG_E_TOLERANCE):
        raise EpochRefused(
            "evidence",
            f"the audit of {verdict.request_id} weighs {verdict.log_e}, its evidence says {expected}",
        )
