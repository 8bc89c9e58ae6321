import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.anchors import ANCHOR_BYTES, Anchor, decode_anchor
from shared.chain_commitments import MAX_COMMITMENT_BYTES

digests = st.binary(min_size=32, max_size=32).map(bytes.hex)
anchors = st.builds(Anchor, st.integers(1, (1 << 31) - 1), digests, digests)


@given(anchors)
def test_an_anchor_reads_back_and_fits_the_chain(anchor: Anchor) -> None:
    assert decode_anchor(anchor.encode()) == anchor
    assert len(anchor.encode()) == ANCHOR_BYTES <= MAX_COMMITMENT_BYTES


@given(anchors, anchors)
def test_different_epochs_have_different_anchors(one: Anchor, other: Anchor) -> None:
    assert (one.encode() == other.encode()) == (one == other)


@pytest.mark.parametrize(
    "data", [b"", b"cst1", b"cst2" + bytes(68), b"cst1" + bytes(67), b"cst1" + bytes(69)]
)
def test_what_else_a_hotkey_commits_to_is_no_anchor(data: bytes) -> None:
    assert decode_anchor(data) is None
