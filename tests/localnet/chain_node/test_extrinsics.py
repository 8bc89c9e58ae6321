from collections.abc import Callable

import pytest
from bittensor.sp_core import Keypair
from hypothesis import given
from hypothesis import strategies as st

from localnet.chain_node.chain import Chain
from localnet.chain_node.extrinsics import (
    Era,
    SignedExtrinsic,
    TransactionError,
    check_nonce,
    check_signature,
    parse_extrinsic,
)
from localnet.chain_node.scale_encoding import ScaleError
from tests.localnet.chain_node.memory_chain import memory_chain
from tests.localnet.chain_node.signing import Signer

ALICE = Keypair.create_from_uri("//Alice")
BOB = Keypair.create_from_uri("//Bob")
CHAIN: Chain = memory_chain()
SIGNER = Signer.of(CHAIN, ALICE)
PERIODS = st.integers(2, 12).map(lambda exponent: 2**exponent)


def is_signed(extrinsic: SignedExtrinsic, block_number: int = 1) -> bool:
    try:
        check_signature(extrinsic, block_number, CHAIN.hash_at)
    except TransactionError as error:
        refusal = error
    else:
        return True
    assert (refusal.code, refusal.data) == (1010, "Transaction has a bad signature")
    return False


def refusal(check: Callable[[], None]) -> str:
    with pytest.raises(TransactionError) as caught:
        check()
    assert caught.value.code == 1010
    return caught.value.data


@given(st.integers(0, 2**32 - 1), st.integers(0, 2**63), st.binary(max_size=400))
def test_what_the_sdk_signs_is_read_back_and_verified(nonce: int, tip: int, text: bytes) -> None:
    extrinsic = parse_extrinsic(SIGNER.remark(text, nonce=nonce, tip=tip))
    assert (extrinsic.signer, extrinsic.nonce, extrinsic.tip_rao) == (ALICE.ss58_address, nonce, tip)
    assert extrinsic.call_data == CHAIN.runtime.codec.compose_call("System", "remark", {"remark": text}).data
    assert is_signed(extrinsic)


@given(PERIODS, st.integers(0, 2**31))
def test_a_mortal_era_begins_where_the_sdk_says(period: int, current: int) -> None:
    era = {"period": period, "current": current}
    birth = CHAIN.runtime.codec.era_birth(era, current)
    raw = SIGNER.remark(era=era, era_block_hash=bytes(32))
    parsed = parse_extrinsic(raw).era
    assert parsed.period_blocks == period
    assert parsed.birth(current) == birth
    assert parsed.birth(birth) == birth
    assert parsed.birth(birth + period - 1) == birth
    assert parsed.birth(birth + period) == birth + period


def test_an_immortal_era_begins_with_the_chain() -> None:
    assert Era().birth(123_456) == 0


def test_another_key_s_signature_is_refused() -> None:
    assert not is_signed(parse_extrinsic(SIGNER.remark(claimed_signer=BOB)))
    assert is_signed(parse_extrinsic(Signer.of(CHAIN, BOB).remark()))


def test_an_extrinsic_for_another_chain_is_refused() -> None:
    elsewhere = Signer(SIGNER.codec, bytes(31) + b"\1", ALICE)
    assert not is_signed(parse_extrinsic(elsewhere.remark()))


def test_an_era_signed_over_another_block_is_refused() -> None:
    era = {"period": 64, "current": 0}
    assert is_signed(parse_extrinsic(SIGNER.remark(era=era)))
    assert not is_signed(parse_extrinsic(SIGNER.remark(era=era, era_block_hash=bytes(32))))


def test_an_era_whose_first_block_is_unknown_is_refused() -> None:
    extrinsic = parse_extrinsic(SIGNER.remark(era={"period": 64, "current": 0}))
    reason = refusal(lambda: check_signature(extrinsic, 65, CHAIN.hash_at))
    assert reason == "Transaction has an ancient birth block"


@given(st.data())
def test_no_changed_bit_goes_unnoticed(data: st.DataObject) -> None:
    raw = bytearray(SIGNER.remark(b"pay nobody", nonce=3))
    position = data.draw(st.integers(0, len(raw) - 1))
    raw[position] ^= 1 << data.draw(st.integers(0, 7))
    try:
        extrinsic = parse_extrinsic(bytes(raw))
        check_signature(extrinsic, 1, CHAIN.hash_at)
    except (ScaleError, TransactionError):
        return
    raise AssertionError(f"byte {position} may be changed")


@given(st.binary(max_size=200))
def test_garbage_raises_nothing_but_a_scale_error(data: bytes) -> None:
    with pytest.raises(ScaleError):
        parse_extrinsic(data)


@pytest.mark.parametrize("cut", [1, 40, 100, 110])
def test_a_truncated_extrinsic_is_refused(cut: int) -> None:
    with pytest.raises(ScaleError):
        parse_extrinsic(SIGNER.remark()[:cut])


def test_only_the_expected_nonce_passes() -> None:
    extrinsic = parse_extrinsic(SIGNER.remark(nonce=5))
    check_nonce(extrinsic, 5)
    assert refusal(lambda: check_nonce(extrinsic, 6)) == "Transaction is outdated"
    assert refusal(lambda: check_nonce(extrinsic, 4)) == "Transaction will be valid in the future"
