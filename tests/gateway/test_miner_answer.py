import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.errors import MinerFailure, MinerRefusal
from gateway.miner_answer import MAX_RECEIPT_BYTES, error_answer, read_part


def part(**fields: Any) -> Any:
    return read_part(json.dumps(fields).encode())


def test_the_receipt_is_taken_out() -> None:
    payload, receipt = part(choices=[], receipt={"version": "receipt/1", "choices": [{"index": 0}]})
    assert payload == {"choices": []}
    assert receipt == {"version": "receipt/1", "choices": [{"index": 0}]}


def test_words_about_receipts_are_no_receipt() -> None:
    payload, receipt = part(choices=[{"delta": {"content": '"receipt": {}'}}])
    assert receipt is None
    assert payload["choices"]


@pytest.mark.parametrize(
    "receipt",
    ["text", 5, [], {"x": "y" * MAX_RECEIPT_BYTES}, {"a": {"b": {"c": {"d": {}}}}}, {"a": [[[[[[]]]]]]}],
)
def test_an_impossible_receipt_is_a_failure(receipt: Any) -> None:
    with pytest.raises(MinerFailure, match="receipt"):
        part(choices=[], receipt=receipt)


def test_a_receipt_that_grows_when_it_is_written_again_is_too_large() -> None:
    numbers = b",".join([b"1e15"] * (MAX_RECEIPT_BYTES // 8))
    data = b'{"choices":[],"receipt":{"numbers":[' + numbers + b"]}}"
    assert len(data) < MAX_RECEIPT_BYTES
    with pytest.raises(MinerFailure, match="larger than any receipt"):
        read_part(data)


@pytest.mark.parametrize("data", [b"", b"{", b"[]", b"5", b"NaN", b"\xff", b'{"a": Infinity}', b"[" * 5000])
def test_what_is_no_json_object_is_a_failure(data: bytes) -> None:
    with pytest.raises(MinerFailure):
        read_part(data)


def test_an_error_in_a_stream_is_a_failure_with_the_miners_words() -> None:
    with pytest.raises(MinerFailure, match="out of memory"):
        part(error={"message": "out of memory", "code": 500})


@pytest.mark.parametrize("status", [400, 413, 422])
def test_an_answer_that_blames_the_request_is_a_refusal(status: int) -> None:
    body = json.dumps({"error": {"message": "too long", "type": "BadRequestError", "code": 400}}).encode()
    failure = error_answer(status, body)
    assert isinstance(failure, MinerRefusal)
    assert (str(failure), failure.status, failure.code, failure.param) == ("too long", status, None, None)


@pytest.mark.parametrize("status", [201, 204, 301, 302, 401, 403, 404, 408, 429, 500, 503])
def test_every_other_status_is_the_miners_own_trouble(status: int) -> None:
    failure = error_answer(status, b'{"error": "sorry"}')
    assert not isinstance(failure, MinerRefusal)
    assert (failure.http_status, str(failure)) == (status, f"it answered HTTP {status}: sorry")


def test_a_long_message_is_cut() -> None:
    failure = error_answer(400, json.dumps({"error": {"message": "x" * 100_000}}).encode())
    assert len(str(failure)) == 2000


@given(
    st.integers(100, 599), st.binary(max_size=60) | st.text(max_size=20).map(lambda t: json.dumps(t).encode())
)
def test_any_error_answer_is_understood(status: int, body: bytes) -> None:
    assert str(error_answer(status, body))
