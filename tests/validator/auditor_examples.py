"""Records, verdicts, chains and auditors that the auditor's tests are made of."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from bittensor.sp_core import Keypair

from shared.canonical import sha256_hex, token_ids_digest
from shared.chain import Block, Neuron
from shared.chain_commitments import checked_commitment
from shared.chain_weights import fitted_row
from shared.errors import ChainUnavailable, OutcomeUnknown
from shared.receipts import ChoiceReceipt, Receipt, ReceiptBody, sign_receipt
from shared.records import ChoiceRecord, Outcome, RequestRecord
from validator.audit_report import AuditReport
from validator.challenge_selection import record_seed
from validator.evidence import PROVEN_LOG_E, e_value, log_e_value
from validator.verdicts import Check, Evidence, Statistic, Verdict, VerdictOutcome

GATEWAY = Keypair.create_from_uri("//Gateway")
AUDITOR = Keypair.create_from_uri("//Auditor")
FOLLOWER = Keypair.create_from_uri("//Follower")
HONEST = Keypair.create_from_uri("//Honest")
ALSO_HONEST = Keypair.create_from_uri("//AlsoHonest")
CHEAT = Keypair.create_from_uri("//Cheat")

START_MS = 1_700_000_000_000
BLOCK_MS = 12_000
SECRET = "my secret prompt"


def example_receipt(miner: Keypair, request_id: str, body: str, output_tokens: int) -> Receipt:
    """A receipt over nothing much, rightly signed."""
    choice = ChoiceReceipt(
        index=0,
        prompt_digest=token_ids_digest(range(10)),
        prompt_tokens=10,
        output_digest=token_ids_digest(range(output_tokens)),
        output_tokens=output_tokens,
        cached_tokens=0,
    )
    stated = ReceiptBody(
        request_id=request_id,
        hotkey=miner.ss58_address,
        model="tiny",
        request_digest=sha256_hex(body.encode()),
        sampler="vllm-native/1",
        seed=7,
        calibration_digest=sha256_hex(b"calibration"),
        num_layers=3,
        choices=(choice,),
        merkle_root=sha256_hex(f"root of {request_id}".encode()),
        leaves=12,
        received_at_ms=START_MS,
        first_token_at_ms=START_MS + 50,
        finished_at_ms=START_MS + 1000,
    )
    return sign_receipt(stated, miner)


def example_record(
    number: int,
    miner: Keypair = HONEST,
    uid: int = 1,
    outcome: Outcome = "answered",
    output_tokens: int = 40,
    duration_ms: float = 1000.0,
    ttft_ms: float | None = 100.0,
    finished_at_ms: int = START_MS + 1000,
    receipt: Mapping[str, Any] | None = None,
) -> RequestRecord:
    """One record; `receipt` replaces the miner's own."""
    request_id = f"request-{number:06d}"
    body = '{"messages":[{"role":"user","content":"' + SECRET + '"}]}'
    answered = outcome == "answered"
    choice = ChoiceRecord(
        index=0,
        prompt_token_ids=tuple(range(10)),
        output_token_ids=tuple(range(output_tokens)),
        finish_reason="stop",
    )
    own = example_receipt(miner, request_id, body, output_tokens).model_dump(mode="json")
    return RequestRecord(
        request_id=request_id,
        gateway_hotkey=GATEWAY.ss58_address,
        miner_uid=uid,
        miner_hotkey=miner.ss58_address,
        path="/v1/chat/completions",
        request_body=body,
        streamed=True,
        store=True,
        outcome=outcome,
        http_status=200 if answered else None,
        error=None if answered else "the connection was refused",
        started_at_ms=finished_at_ms - round(duration_ms),
        finished_at_ms=finished_at_ms,
        ttft_ms=ttft_ms if answered else None,
        duration_ms=duration_ms,
        prompt_tokens=10 if answered else 0,
        output_tokens=output_tokens if answered else 0,
        choices=(choice,) if answered else (),
        receipt=(dict(receipt) if receipt is not None else own) if answered else None,
    )


COMPARED: tuple[Statistic, ...] = ("typical", "mean", "replay")
UNREMARKABLE = tuple(Evidence(statistic=name, score=1.0, p_value=0.5) for name in COMPARED)
UNREMARKABLE_RATIOS: dict[str, float] = {name: float(f"{e_value(0.5):.6g}") for name in COMPARED}
LOG_E: Mapping[VerdictOutcome, float] = {
    "pass": log_e_value(UNREMARKABLE),
    "fail": PROVEN_LOG_E,
    "inconclusive": 0.0,
}
CHECKS: Mapping[VerdictOutcome, Check] = {"pass": "all", "fail": "sketch", "inconclusive": "request"}
"""What audits count: a pass with a p-value of about one half, a failed exact check, and nothing."""


def example_verdict(
    record: RequestRecord, block: Block, outcome: VerdictOutcome = "pass", log_e: float | None = None
) -> Verdict:
    """A verdict on one record, its challenge drawn by the rule."""
    return Verdict(
        request_id=record.request_id,
        miner_uid=record.miner_uid,
        miner_hotkey=record.miner_hotkey,
        outcome=outcome,
        check=CHECKS[outcome],
        reason="every check held" if outcome == "pass" else "the sketches are too far off",
        evidence=UNREMARKABLE if outcome == "pass" else (),
        log_e=LOG_E[outcome] if log_e is None else log_e,
        ratios=dict(UNREMARKABLE_RATIOS) if outcome == "pass" else {},
        points=(),
        tokens=None,
        challenge_block=block.number,
        challenge_block_hash=block.hash,
        challenge_seed=record_seed(record, block),
        audited_at_ms=block.timestamp_ms,
    )


def block_number(number: int) -> Block:
    """The example chain's block of this number: every twelve seconds from START_MS."""
    return Block(number, "0x" + sha256_hex(str(number).encode()), START_MS + number * BLOCK_MS)


def neuron(miner: Keypair, uid: int, axon: str | None = "127.0.0.1:9000", **fields: Any) -> Neuron:
    """A neuron without permit, stake or weights, unless said otherwise."""
    values = {"validator_permit": False, "stake_rao": 0, "last_update": 0} | fields
    return Neuron(uid, miner.ss58_address, axon, **values)


@dataclass
class ExampleChain:
    """A chain in memory, with the SDK's way of refusing; `down` makes every call fail."""

    registered: list[Neuron] = field(default_factory=list)
    height: int = 1
    down: bool = False
    oldest_kept: int = 0
    rate_limit: int = 0
    on_chain: dict[int, dict[int, int]] = field(default_factory=dict)
    sent: list[dict[int, int]] = field(default_factory=list)
    own: Keypair = AUDITOR
    reveals: bool = True
    """False: as on a subnet with commit-reveal, what is set is not visible in plain."""
    next_errors: list[Exception] = field(default_factory=list)
    committed: dict[str, bytes] = field(default_factory=dict)
    weight_commit: int | None = None
    """The block in which weights were committed to that are not revealed yet."""
    lost_answers: int = 0
    """So many settings arrive on chain while their answers are lost."""

    def _reach(self) -> None:
        if self.down:
            raise ChainUnavailable("the chain can't be reached")

    async def neurons(self) -> list[Neuron]:
        self._reach()
        return list(self.registered)

    async def head(self) -> Block:
        self._reach()
        return block_number(self.height)

    async def block(self, number: int) -> Block:
        self._reach()
        if number < self.oldest_kept:
            raise ChainUnavailable(f"the state of block {number} is discarded")
        return block_number(number)

    async def blocks(self, numbers: Iterable[int]) -> dict[int, Block]:
        return {number: await self.block(number) for number in numbers}

    async def serve_axon(self, ip: str, port: int) -> None:
        raise NotImplementedError

    async def set_commitment(self, data: bytes) -> None:
        self._reach()
        self.committed[self.own.ss58_address] = checked_commitment(data)

    async def commitments(self) -> dict[str, bytes]:
        self._reach()
        return dict(self.committed)

    async def weights_rate_limit(self) -> int:
        self._reach()
        return self.rate_limit

    async def set_weights(self, weights: Mapping[int, int]) -> None:
        self._reach()
        self.sent.append(dict(weights))
        if self.next_errors:
            raise self.next_errors.pop(0)
        self.height += 1
        place, own = next(
            (place, one) for place, one in enumerate(self.registered) if one.hotkey == self.own.ss58_address
        )
        self.registered[place] = Neuron(
            own.uid, own.hotkey, own.axon, own.validator_permit, own.stake_rao, self.height
        )
        if self.reveals:
            self.on_chain[own.uid] = await self.fitted_row(weights)
        else:
            self.weight_commit = self.height
        if self.lost_answers:
            self.lost_answers -= 1
            raise OutcomeUnknown("the connection broke before the answer came")

    async def fitted_row(self, weights: Mapping[int, int]) -> dict[int, int]:
        return fitted_row(weights, 65535)

    async def commits_weights(self) -> bool:
        self._reach()
        return not self.reveals

    async def weight_commits(self) -> dict[str, int]:
        self._reach()
        return {} if self.weight_commit is None else {self.own.ss58_address: self.weight_commit}

    async def weights(self) -> dict[int, dict[int, int]]:
        self._reach()
        return self.on_chain

    async def close(self) -> None:
        pass


class ExampleAuditor:
    """Passes every miner but those that it is told to judge otherwise."""

    def __init__(self, verdicts: Mapping[str, VerdictOutcome] | None = None) -> None:
        self.verdicts = dict(verdicts or {})
        self.audited: list[str] = []
        self.axons: set[str] = set()
        self.errors: list[Exception] = []

    async def audit(self, record: RequestRecord, axon: str, block: Block) -> AuditReport:
        self.audited.append(record.request_id)
        self.axons.add(axon)
        if self.errors:
            raise self.errors.pop(0)
        return AuditReport(example_verdict(record, block, self.verdicts.get(record.miner_hotkey, "pass")))


class ExampleClock:
    """A clock that stands still until it is moved."""

    def __init__(self, now_ms: int = START_MS) -> None:
        self.now_ms = now_ms

    def __call__(self) -> int:
        return self.now_ms


def many_records(miner: Keypair, uid: int, numbers: Sequence[int], **fields: Any) -> list[RequestRecord]:
    """Records of one miner."""
    return [example_record(number, miner, uid, **fields) for number in numbers]
