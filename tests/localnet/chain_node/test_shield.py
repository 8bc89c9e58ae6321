import bittensor_core
import pytest
from bittensor.sp_core import Keypair
from hypothesis import given, settings
from hypothesis import strategies as st

from localnet.chain_node.chain import Chain
from localnet.chain_node.shield import SEED_BYTES, Shield, ShieldError
from tests.localnet.chain_node.memory_chain import memory_chain
from tests.localnet.chain_node.signing import Signer

SHIELD = Shield(bytes(range(SEED_BYTES)))
ALICE = Keypair.create_from_uri("//Alice")
BOB = Keypair.create_from_uri("//Bob")


def sealed(data: bytes, shield: Shield = SHIELD) -> bytes:
    return bytes(bittensor_core.encrypt_mlkem768(shield.public_key, data, include_key_hash=True))


@settings(deadline=None)
@given(st.binary(max_size=500))
def test_what_the_sdk_encrypts_is_opened(data: bytes) -> None:
    assert SHIELD.open(sealed(data)) == data


def test_the_same_seed_gives_the_same_key() -> None:
    assert Shield(bytes(range(SEED_BYTES))).public_key == SHIELD.public_key
    assert Shield(bytes(SEED_BYTES)).public_key != SHIELD.public_key


def test_what_was_encrypted_to_another_key_is_refused() -> None:
    with pytest.raises(ShieldError):
        SHIELD.open(sealed(b"secret", Shield(bytes(SEED_BYTES))))


@settings(deadline=None)
@given(st.integers(16, 1_000), st.integers(1, 255))
def test_a_changed_ciphertext_is_refused(position: int, mask: int) -> None:
    blob = bytearray(sealed(b"secret"))
    blob[position] ^= mask
    with pytest.raises(ShieldError):
        SHIELD.open(bytes(blob))


@settings(deadline=None)
@given(st.binary(max_size=1_400))
def test_garbage_raises_nothing_but_a_shield_error(data: bytes) -> None:
    with pytest.raises(ShieldError):
        SHIELD.open(data)


def carrier(chain: Chain, inner: bytes) -> bytes:
    key = chain.current.get("MevShield.NextKey")
    blob = bittensor_core.encrypt_mlkem768(bytes.fromhex(key[2:]), inner, include_key_hash=True)
    return Signer.of(chain, ALICE).sign("MevShield", "submit_encrypted", {"ciphertext": blob})


def test_the_inner_extrinsic_executes_in_the_carrier_s_block() -> None:
    chain = memory_chain()
    inner = Signer.of(chain, ALICE).remark(nonce=1)
    outer = carrier(chain, inner)
    chain.submit(outer)
    assert chain.produce().block.extrinsics[1:] == (outer, inner)
    assert chain.next_nonce(ALICE.ss58_address) == 2


@pytest.mark.parametrize("fault", ["bad signature", "used nonce", "garbage", "another call"])
def test_an_invalid_inner_extrinsic_is_left_out_and_the_carrier_stays(fault: str) -> None:
    chain = memory_chain()
    signer = Signer.of(chain, ALICE)
    inner = {
        "bad signature": signer.remark(nonce=0, claimed_signer=BOB),
        "used nonce": signer.remark(nonce=0),
        "garbage": b"garbage",
        "another call": signer.sign("Timestamp", "set", {"now": 1}, nonce=1),
    }[fault]
    outer = carrier(chain, inner)
    chain.submit(outer)
    assert chain.produce().block.extrinsics[1:] == (outer,)
    assert chain.next_nonce(ALICE.ss58_address) == 1
    assert chain.next_nonce(BOB.ss58_address) == 0
