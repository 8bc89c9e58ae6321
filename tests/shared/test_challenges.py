import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.canonical import canonical_json, sha256_hex
from shared.challenges import (
    CHALLENGE_DOMAIN,
    MAX_OPEN_POINTS,
    MAX_REPLAY_POINTS,
    OpenAnswer,
    OpenedPoint,
    OpenPoint,
    OpenRequest,
    ReplayPoint,
    ReplayRequest,
    parse_challenge,
    sign_answer,
)
from shared.errors import MalformedMessage, SignatureMismatch
from shared.signing import check_signature
from tests.shared.keys import MINER, OTHER_MINER

OPEN = OpenRequest(request_id="request-one", points=(OpenPoint(position=3, layer=1),))
REPLAY = ReplayRequest(token_ids=(1, 2, 3), points=(ReplayPoint(position=2, layer=0),))


@pytest.mark.parametrize("request_", [OPEN, REPLAY])
def test_both_forms_survive_their_bytes(request_: OpenRequest | ReplayRequest) -> None:
    assert parse_challenge(canonical_json(request_)) == request_


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"[]",
        b'{"form":"close"}',
        b'{"form":"open","request_id":"request-one","points":[]}',
        b'{"form":"open","request_id":"request-one","points":[{"position":-1,"layer":1}]}',
        b'{"form":"open","request_id":"request-one","points":[{"position":1,"layer":0}]}',
        b'{"form":"open","request_id":"../etc","points":[{"position":1,"layer":1}]}',
        b'{"form":"replay","token_ids":[],"points":[{"position":0,"layer":0}]}',
        b'{"form":"replay","token_ids":[1.5],"points":[{"position":0,"layer":0}]}',
        b'{"form":"replay","token_ids":[1],"points":[{"position":0,"layer":0}],"more":1}',
    ],
)
def test_what_is_not_a_challenge_is_refused(text: bytes) -> None:
    with pytest.raises(MalformedMessage, match="not a challenge"):
        parse_challenge(text)


@pytest.mark.parametrize(("form", "limit"), [("open", MAX_OPEN_POINTS), ("replay", MAX_REPLAY_POINTS)])
def test_more_points_than_the_limit_are_refused(form: str, limit: int) -> None:
    points = [{"position": 0, "layer": 1}] * (limit + 1)
    head = {"form": form, "points": points}
    rest = {"request_id": "request-one"} if form == "open" else {"token_ids": [1]}
    with pytest.raises(MalformedMessage):
        parse_challenge(canonical_json({**head, **rest}))


@given(st.binary(max_size=100))
def test_noise_is_never_a_challenge_and_never_a_crash(data: bytes) -> None:
    with pytest.raises(MalformedMessage):
        parse_challenge(data)


def opened(sketch: str) -> OpenedPoint:
    return OpenedPoint(choice=0, position=1, layer=1, token_id=5, sketch=sketch, path=("00" * 32,))


def test_an_opened_point_gives_its_binary_form() -> None:
    opening = opened(base64.b64encode(bytes(128)).decode()).opening()
    assert opening.sketch == bytes(128)
    assert opening.path == (bytes(32),)


def test_an_opened_point_whose_sketch_is_not_base64_is_refused() -> None:
    with pytest.raises(MalformedMessage):
        opened("%%%").opening()


def test_an_answer_is_bound_to_its_signer_and_its_challenge() -> None:
    answer = OpenAnswer(hotkey=MINER.ss58_address, challenge_digest=sha256_hex(b"one"), openings=())
    signed = sign_answer(answer, MINER)
    assert signed.signature is not None
    check_signature(CHALLENGE_DOMAIN, signed, signed.signature, MINER.ss58_address)
    with pytest.raises(SignatureMismatch):
        check_signature(CHALLENGE_DOMAIN, signed, signed.signature, OTHER_MINER.ss58_address)
    other = signed.model_copy(update={"challenge_digest": sha256_hex(b"two")})
    with pytest.raises(SignatureMismatch):
        check_signature(CHALLENGE_DOMAIN, other, signed.signature, MINER.ss58_address)
    with pytest.raises(SignatureMismatch):
        check_signature("receipt/1", signed, signed.signature, MINER.ss58_address)
