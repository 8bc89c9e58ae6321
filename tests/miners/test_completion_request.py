from contextlib import suppress

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from miners.completion_request import CompletionRequest, parse_completion_request
from miners.errors import RequestRefused
from shared.canonical import sha256_hex

FRESH = "fresh-id-0001"


def parse(received: bytes) -> CompletionRequest:
    return parse_completion_request(received, lambda: FRESH)


def test_a_complete_body_passes_as_it_was_received() -> None:
    received = b'{"model":"m",  "request_id":"abcdefgh1","return_token_ids":true,"seed":5}'
    request = parse(received)
    assert request == CompletionRequest("abcdefgh1", sha256_hex(received), 5, received)


def test_what_the_receipt_needs_is_added() -> None:
    received = b'{"model":"m","return_token_ids":false}'
    request = parse(received)
    assert orjson.loads(request.body) == {"model": "m", "request_id": FRESH, "return_token_ids": True}
    assert request.request_id == FRESH
    assert request.digest == sha256_hex(received)


@pytest.mark.parametrize(("seed", "expected"), [(0, 0), (-3, -3), (None, None), (True, None), ("7", None)])
def test_only_a_whole_number_is_a_seed(seed: object, expected: int | None) -> None:
    assert parse(orjson.dumps({"seed": seed})).seed == expected


@pytest.mark.parametrize(
    ("received", "words"),
    [
        (b"", "not JSON"),
        (b"[1]", "JSON object"),
        (b"[" * 5000, "not JSON"),
        (b'{"a": NaN}', "not JSON"),
        (b'{"a": "\xff"}', "not JSON"),
        (b'{"request_id": "short"}', "request_id"),
        (b'{"request_id": 12345678}', "request_id"),
        (b'{"request_id": "has spaces in"}', "request_id"),
        (b'{"request_id": "abcdefgh\\n"}', "request_id"),
        (b'{"use_beam_search": true}', "beam search"),
        (b'{"n": 129}', "at most 128"),
        (b'{"n": 2, "prompt": [' + b",".join([b'"x"'] * 65) + b"]}", "at most 128"),
    ],
)
def test_what_no_receipt_can_cover_is_refused_in_words(received: bytes, words: str) -> None:
    with pytest.raises(RequestRefused, match=words) as refused:
        parse(received)
    assert refused.value.status == 400


@pytest.mark.parametrize("prompt", ["x" * 500, list(range(500)), [[1, 2], [3]], ["a"] * 128, [], None])
def test_ordinary_prompts_are_covered(prompt: object) -> None:
    assert parse(orjson.dumps({"prompt": prompt})).request_id == FRESH


@given(st.binary(max_size=200))
def test_any_bytes_are_a_request_or_refused(received: bytes) -> None:
    with suppress(RequestRefused):
        assert orjson.loads(parse(received).body)["return_token_ids"] is True
