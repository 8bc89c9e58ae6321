"""What is published of an attempt, and the receipt that its miner signs."""

from functools import lru_cache

from bench.incentives.miners import hotkey_address
from bench.incentives.population import Timing
from bench.incentives.rounds import START_MS
from bench.incentives.strategies import Conduct
from bench.incentives.traffic import EPOCH_S, Arrival
from gateway.miners import KnownMiner
from shared.canonical import sha256_hex
from shared.receipts import ChoiceReceipt, Receipt
from shared.record_facts import published_name
from shared.request_facts import ChoiceFacts, RequestFacts

_DIGEST = "0" * 64
_GATEWAY = hotkey_address("gateway")


def attempt_facts(
    name: str,
    client_request: str,
    client: str,
    arrival: Arrival,
    conduct: Conduct,
    taken: Timing,
    now_s: float,
    miner: KnownMiner,
) -> RequestFacts:
    """The facts as `validator.request_facts.facts_of` makes them; valid by construction, not checked again.

    Each attempt has a name of its own and that of the first at the same request, as the gateway gives them.

    Args:
        client: who asked.
    """
    answered = conduct.outcome == "answered"
    started_at_ms = START_MS + round(now_s * 1000)
    choice = _choice_facts(arrival.prompt_tokens, arrival.output_tokens)
    return RequestFacts.model_construct(
        version="request/2",
        request_id=name,
        client_request=client_request,
        client=published_name(client, int(now_s // EPOCH_S), miner.hotkey),
        gateway_hotkey=_GATEWAY,
        miner_uid=miner.uid,
        miner_hotkey=miner.hotkey,
        path="/v1/chat/completions",
        request_digest=_DIGEST,
        streamed=arrival.streamed,
        outcome=conduct.outcome,
        http_status={"answered": 200, "refused": 400}.get(conduct.outcome),
        started_at_ms=started_at_ms,
        finished_at_ms=started_at_ms + round(taken.duration_ms),
        ttft_ms=taken.ttft_ms if answered and arrival.streamed else None,
        duration_ms=taken.duration_ms,
        prompt_tokens=arrival.prompt_tokens if answered else 0,
        output_tokens=arrival.output_tokens if answered else 0,
        choices=(choice,) if answered else (),
        receipt=_receipt(name, arrival, conduct, taken, started_at_ms, miner.hotkey) if answered else None,
    )


def _receipt(
    name: str, arrival: Arrival, conduct: Conduct, taken: Timing, started_at_ms: int, hotkey: str
) -> Receipt:
    """What the miner signs, its own times included, which may be claims."""
    choice = _choice_receipt(arrival.prompt_tokens, arrival.output_tokens)
    return Receipt.model_construct(
        version="receipt/1",
        request_id=name,
        hotkey=hotkey,
        model="model",
        request_digest=_DIGEST,
        sampler="sampler",
        seed=0,
        calibration_digest=_DIGEST,
        num_layers=1,
        choices=(choice,),
        merkle_root=sha256_hex(name.encode()),
        leaves=8,
        received_at_ms=started_at_ms,
        first_token_at_ms=started_at_ms + round(taken.ttft_ms / conduct.claimed),
        finished_at_ms=started_at_ms + round(taken.duration_ms / conduct.claimed),
        signature=arrival.signature,
    )


@lru_cache(maxsize=1 << 16)
def _choice_facts(prompt_tokens: int, output_tokens: int) -> ChoiceFacts:
    return ChoiceFacts(
        index=0,
        prompt_digest=_DIGEST,
        prompt_tokens=prompt_tokens,
        output_digest=_DIGEST,
        output_tokens=output_tokens,
    )


@lru_cache(maxsize=1 << 16)
def _choice_receipt(prompt_tokens: int, output_tokens: int) -> ChoiceReceipt:
    return ChoiceReceipt(
        index=0,
        prompt_digest=_DIGEST,
        prompt_tokens=prompt_tokens,
        output_digest=_DIGEST,
        output_tokens=output_tokens,
        cached_tokens=0,
    )
