import asyncio
import json
from typing import Any

import pytest

from shared.canonical import sha256_hex
from shared.errors import ModelError
from shared.peer_auth import RequestVerifier
from shared.records import RequestRecord
from tests.shared.keys import MINER, VALIDATOR
from tests.validator.scripted_http import SeenRequest, response, scripted_server
from validator.calibration_requests import NoiseRequest
from validator.calibration_traffic import MinerTraffic
from validator.miner_client import http_client

RECEIPT = {"version": "receipt/1"}
WHOLE = {
    "prompt_token_ids": [1, 2],
    "choices": [
        {"index": 0, "message": {"content": "Hi."}, "token_ids": [5, 6], "finish_reason": "stop"},
    ],
    "receipt": RECEIPT,
}
EVENTS: list[dict[str, Any]] = [
    {"prompt_token_ids": [1, 2], "choices": [{"index": 0, "token_ids": None}]},
    {"choices": [{"index": 0, "delta": {"content": "Hi"}, "token_ids": [5]}]},
    {"choices": [{"index": 1, "token_ids": [7]}]},
    {"choices": [{"index": 0, "delta": {"content": "."}, "token_ids": [6], "finish_reason": "stop"}]},
    {"choices": [], "receipt": RECEIPT},
]


def request(streamed: bool) -> NoiseRequest:
    return NoiseRequest("/v1/chat/completions", b'{"n": 1}', "request-one", streamed)


async def asked(answer: bytes, streamed: bool = False) -> tuple[RequestRecord, SeenRequest]:
    async def script(_: SeenRequest, writer: asyncio.StreamWriter) -> None:
        writer.write(answer)

    async with scripted_server(script) as server, http_client() as http:
        traffic = MinerTraffic(http, VALIDATOR, f"http://{server.axon}", MINER.ss58_address, lambda: 1000)
        record = await traffic.ask(request(streamed))
    return record, server.seen[0]


async def test_a_whole_answer_becomes_a_record() -> None:
    record, seen = await asked(response(200, json.dumps(WHOLE).encode()))
    assert record.request_body.encode() == seen.body == request(False).body
    assert record.choices[0].prompt_token_ids == (1, 2)
    assert record.choices[0].output_token_ids == (5, 6)
    assert record.receipt == RECEIPT
    assert (record.outcome, record.miner_hotkey) == ("answered", MINER.ss58_address)


async def test_a_stream_becomes_a_record() -> None:
    lines = [f"data: {json.dumps(event)}\n\n" for event in EVENTS]
    record, _ = await asked(response(200, "".join([*lines, "data: [DONE]\n\n"]).encode()), streamed=True)
    assert [choice.output_token_ids for choice in record.choices] == [(5, 6), (7,)]
    assert [choice.prompt_token_ids for choice in record.choices] == [(1, 2), (1, 2)]
    assert record.receipt == RECEIPT
    assert record.output_tokens == 3


@pytest.mark.parametrize("streamed", [False, True])
async def test_the_text_is_digested_as_a_gateway_digests_it(streamed: bool) -> None:
    lines = [f"data: {json.dumps(event)}\n\n" for event in EVENTS]
    answer = "".join([*lines, "data: [DONE]\n\n"]) if streamed else json.dumps(WHOLE)
    record, _ = await asked(response(200, answer.encode()), streamed)
    assert record.choices[0].text_sha256 == sha256_hex(b"Hi.")
    assert record.choices[0].text_bytes == 3


async def test_prompts_inside_of_choices_are_read_too() -> None:
    choices = [{"index": i, "prompt_token_ids": [i, 9], "token_ids": [4]} for i in (0, 1)]
    record, _ = await asked(response(200, json.dumps({"choices": choices}).encode()))
    assert [choice.prompt_token_ids for choice in record.choices] == [(0, 9), (1, 9)]
    assert record.receipt is None


async def test_requests_are_signed_for_the_miner() -> None:
    _, seen = await asked(response(200, json.dumps(WHOLE).encode()))
    verifier = RequestVerifier(MINER.ss58_address)
    assert verifier.sender(seen.headers, "POST", seen.target, seen.body) == VALIDATOR.ss58_address


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (response(403, b"no permit"), "HTTP 403: no permit"),
        (response(200, b"not json"), "did not answer"),
        (response(200, b'{"choices": [{"index": 0, "message": {"content": 5}}]}'), "did not answer"),
        (b"", "did not answer"),
    ],
)
async def test_a_miner_that_does_not_answer_ends_the_calibration_in_words(answer: bytes, words: str) -> None:
    with pytest.raises(ModelError, match=words):
        await asked(answer)
