"""Check what a gateway says of a request: `python -m gateway.check_receipt --gateway URL --id REQUEST_ID`."""

import asyncio
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from shared.config import between, exit_on_config_error, load, setting
from shared.errors import ChainError, ConfigError, StoreError

if TYPE_CHECKING:
    from gateway.receipt_checks import CheckedReceipt
    from shared.object_store import ObjectReader

PROGRAM = "python -m gateway.check_receipt"
DESCRIPTION = (
    "Check a request's receipt, its place among the published records, and the chain's word for them. The "
    "exit status is 0 when all that can be checked holds, 1 when something does not."
)
TIMEOUT_S = 60.0


@dataclass(frozen=True)
class CheckConfig:
    """What is to be checked."""

    gateway: str | None = setting(None, "URL of the gateway, as https://host")
    id: str | None = setting(None, "x-request-id of the answer")
    request: Path | None = setting(None, "file with the body that you sent: a chat or a completion")
    answer: Path | None = setting(
        None, "file with the answer: a whole one with token_ids, or a stream's events"
    )
    store: str | None = setting(
        None, "where the epochs are, if not at the gateway: a URL, a folder or s3://bucket/prefix"
    )
    publisher: str | None = setting(None, "hotkey that must have signed the epoch (default: any)")
    network: str | None = setting(
        None, "chain on which the epoch's commitment is looked up: finney, test or a ws:// address"
    )
    netuid: int = setting(97, "subnet", check=between(0, 65535))


def main(argv: Sequence[str] | None = None) -> int:
    """Print what holds, line by line.

    Raises:
        ConfigError: gateway or request are not named, or something can't be read.
    """
    config = load(CheckConfig, DESCRIPTION, argv, prog=PROGRAM)
    if not config.gateway or not config.id:
        raise ConfigError("name the gateway and the request: --gateway https://host --id REQUEST_ID")
    from gateway.receipt_checks import CheckFailed

    try:
        for what, words in _lines(config, config.gateway.rstrip("/"), config.id):
            print(f"{what:<9}{words}")
    except CheckFailed as error:
        print(f"FAILS    {error}")
        return 1
    except (StoreError, ChainError, OSError) as error:
        raise ConfigError(f"the check can't be finished: {error}") from None
    return 0


def _lines(config: CheckConfig, gateway: str, request_id: str) -> Iterator[tuple[str, str]]:
    from gateway.receipt_checks import check_answer, check_request, check_summary, checked_receipt
    from shared.object_store import open_reader

    checked = checked_receipt(_get(f"{gateway}/v1/receipts/{request_id}"), request_id)
    yield "receipt", f"signed by {checked.receipt.hotkey}"
    if config.answer is not None:
        check_answer(config.answer.read_bytes(), checked.receipt)
        yield "answer", "has the tokens that the miner signed"
    if config.request is not None:
        path = checked.proof.record.path if checked.proof else "/v1/chat/completions"
        check_request(config.request.read_bytes(), _model(gateway), checked.receipt, path)
        yield "request", "is the one that the miner signed for"
    if checked.proof is None:
        yield "log", f"{checked.inclusion.get('state')}: {checked.inclusion.get('words')}"
        return
    proof = checked.proof
    store = open_reader(config.store or f"{gateway}/v1/dataset/files")
    check_summary(proof, store, config.publisher)
    place = f"record {proof.index} of the {proof.size} of epoch {proof.epoch}"
    yield "log", f"{place}, which {proof.publisher} signed"
    if config.network is not None:
        yield "chain", asyncio.run(_on_chain(config.network, config.netuid, checked, store))
    yield "audit", f"{checked.audit.get('words')}"


async def _on_chain(network: str, netuid: int, checked: "CheckedReceipt", store: "ObjectReader") -> str:
    from gateway.receipt_checks import CheckFailed, check_anchor
    from shared.anchors import decode_anchor
    from shared.chain import SubtensorChain, check_network

    check_network(network)
    assert checked.proof is not None
    chain = SubtensorChain(network, netuid)
    try:
        committed = (await chain.commitments()).get(checked.proof.publisher)
    finally:
        await chain.close()
    anchor = decode_anchor(committed) if committed is not None else None
    if anchor is None:
        raise CheckFailed(f"{checked.proof.publisher} has committed to no epoch on chain")
    return await asyncio.to_thread(check_anchor, anchor, checked.proof, store)


def _get(url: str) -> bytes:
    import httpx

    try:
        answer = httpx.get(url, timeout=TIMEOUT_S)
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        raise ConfigError(f"{url} can't be read: {error}") from None
    if answer.is_error:
        raise ConfigError(f"{url} answers with HTTP {answer.status_code}: {answer.text[:500]}")
    return answer.content


def _model(gateway: str) -> str:
    import json

    try:
        return str(json.loads(_get(f"{gateway}/v1/models"))["data"][0]["id"])
    except (ValueError, LookupError, TypeError):
        raise ConfigError(f"{gateway}/v1/models names no model") from None


if __name__ == "__main__":
    exit_on_config_error(main)
