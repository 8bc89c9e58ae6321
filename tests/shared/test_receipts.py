import hashlib
import json

import pytest
from bittensor.sp_core import verify
from hypothesis import given
from hypothesis import strategies as st

from shared.errors import MalformedMessage, SignatureMismatch
from shared.receipts import Receipt, check_receipt, parse_receipt, receipt_digest, sign_receipt
from shared.signing import check_signature
from tests.shared.keys import MINER, OTHER_MINER
from tests.shared.receipt_examples import example_commitment, example_receipt, receipt_body


def changed(receipt: Receipt, **fields: object) -> Receipt:
    return receipt.model_copy(update=fields)


def test_a_signed_receipt_passes_and_survives_json() -> None:
    receipt = example_receipt(MINER)
    again = parse_receipt(receipt.model_dump_json())
    check_receipt(again)
    assert again == receipt


@pytest.mark.parametrize(
    "fields",
    [
        {"merkle_root": "0" * 64},
        {"request_id": "request-two"},
        {"request_digest": "1" * 64},
        {"seed": 8},
        {"leaves": 1},
        {"choices": ()},
        {"finished_at_ms": 1},
        {"hotkey": OTHER_MINER.ss58_address},
        {"signature": "0x" + "00" * 64},
    ],
)
def test_a_receipt_changed_after_signing_is_refused(fields: dict[str, object]) -> None:
    with pytest.raises(SignatureMismatch):
        check_receipt(changed(example_receipt(MINER), **fields))


def test_a_miner_can_not_sign_a_receipt_in_anothers_name() -> None:
    body = receipt_body(example_commitment(), OTHER_MINER.ss58_address)
    with pytest.raises(ValueError, match="the signer is"):
        sign_receipt(body, MINER)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("merkle_root", "xyz"),
        ("leaves", -1),
        ("leaves", 1.5),
        ("leaves", True),
        ("seed", "7"),
        ("hotkey", "not an address"),
        ("signature", "0x12"),
        ("version", "receipt/9"),
        ("request_id", "a b"),
        ("choices", [{"index": 0}]),
        ("extra", 1),
    ],
)
def test_a_receipt_with_a_field_that_is_not_allowed_is_refused_by_name(field: str, value: object) -> None:
    data = json.loads(example_receipt(MINER).model_dump_json())
    data[field] = value
    with pytest.raises(MalformedMessage, match=field):
        parse_receipt(json.dumps(data))


@given(st.binary(max_size=200))
def test_noise_is_never_a_receipt_and_never_a_crash(data: bytes) -> None:
    with pytest.raises(MalformedMessage):
        parse_receipt(data)


def test_the_digest_is_of_every_field_and_of_the_signature() -> None:
    receipt = example_receipt(MINER)
    assert receipt_digest(receipt) == receipt_digest(parse_receipt(receipt.model_dump_json()))
    others = [changed(receipt, leaves=1), changed(receipt, signature="0x" + "00" * 64)]
    assert len({receipt_digest(one) for one in [receipt, *others]}) == 3


def test_the_digest_and_the_signature_can_be_checked_with_nothing_but_json_and_a_hash() -> None:
    receipt = json.loads(example_receipt(MINER).model_dump_json())

    def plain(fields: dict[str, object]) -> bytes:
        return json.dumps(fields, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()

    assert hashlib.sha256(plain(receipt)).hexdigest() == receipt_digest(parse_receipt(json.dumps(receipt)))
    check_signature("receipt/1", receipt, receipt["signature"], receipt["hotkey"])
    signature = bytes.fromhex(receipt.pop("signature").removeprefix("0x"))
    assert verify(b"constantinople/receipt/1\x00" + plain(receipt), signature, receipt["hotkey"])
