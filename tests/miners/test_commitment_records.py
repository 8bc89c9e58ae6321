"""What is written is read, whatever lies beside it; and what is damaged is never taken for a commitment."""

from collections.abc import Sequence

from hypothesis import given, settings
from hypothesis import strategies as st

from miners.commitment_records import MARK, Damage, WrittenCommitment, encode_record, scan_records
from shared.commitments import ChoiceShape, Commitment
from tests.shared.receipt_examples import example_commitment

WORD = st.integers(0, 2**32 - 1)
RECORDS = [encode_record(WrittenCommitment(float(n), example_commitment(f"request-{n}"))) for n in range(3)]


@st.composite
def commitments(draw: st.DrawFn) -> Commitment:
    lengths = draw(st.lists(st.tuples(st.integers(1, 40), st.integers(0, 40), WORD), min_size=1, max_size=3))
    choices = tuple(ChoiceShape(n, *shape) for n, shape in enumerate(lengths))
    token_ids = {
        c.index: draw(st.lists(WORD, min_size=(n := c.prompt_tokens + c.output_tokens), max_size=n))
        for c in choices
    }
    name = draw(st.text("abcXYZ019_-", min_size=1, max_size=64))
    return Commitment(name, draw(st.integers(1, 65535)), choices, token_ids, draw(st.binary(max_size=600)))


def plain(commitment: Commitment) -> tuple[object, ...]:
    """What a commitment says, whatever holds its token ids."""
    ids = {choice: list(of_choice) for choice, of_choice in commitment.token_ids.items()}
    return commitment.request_id, commitment.num_layers, commitment.choices, ids, commitment.sketches


def names(found: Sequence[WrittenCommitment | Damage]) -> list[str]:
    return [one.commitment.request_id for one in found if isinstance(one, WrittenCommitment)]


@given(st.lists(st.tuples(st.floats(0, 1e12), commitments()), max_size=4), st.binary(max_size=20))
def test_commitments_come_back_as_they_were(written: list[tuple[float, Commitment]], before: bytes) -> None:
    data = before + b"".join(encode_record(WrittenCommitment(*one)) for one in written)
    read = list(scan_records(data, len(before)))
    assert all(isinstance(one, WrittenCommitment) for one in read)
    assert [
        (one.written_at_s, plain(one.commitment)) for one in read if isinstance(one, WrittenCommitment)
    ] == [(at_s, plain(commitment)) for at_s, commitment in written]


def test_what_was_read_opens_to_the_same_root() -> None:
    (read,) = scan_records(RECORDS[0])
    assert isinstance(read, WrittenCommitment)
    original = example_commitment("request-0")
    points = original.points().points[::5]
    assert read.commitment.tree().root == original.tree().root
    assert read.commitment.open(points) == original.open(points)
    assert all(type(opening.token_id) is int for opening in read.commitment.open(points) if opening)


@given(st.integers(0, sum(map(len, RECORDS)) - 1))
def test_a_cut_costs_only_the_record_it_goes_through(end: int) -> None:
    whole = [n for n in range(3) if sum(map(len, RECORDS[: n + 1])) <= end]
    found = list(scan_records(b"".join(RECORDS)[:end]))
    assert names(found) == [f"request-{n}" for n in whole]
    torn = end - sum(len(RECORDS[n]) for n in whole)
    assert sum(one.size for one in found if isinstance(one, Damage)) == torn


@given(st.integers(0, 2), st.data())
def test_a_changed_byte_costs_only_its_record(number: int, data: st.DataObject) -> None:
    at = data.draw(st.integers(0, len(RECORDS[number]) - 1))
    changed = bytearray(RECORDS[number])
    changed[at] ^= data.draw(st.integers(1, 255))
    pieces = [bytes(changed) if n == number else record for n, record in enumerate(RECORDS)]
    assert names(list(scan_records(b"".join(pieces)))) == [f"request-{n}" for n in range(3) if n != number]


@settings(max_examples=300)
@given(st.lists(st.one_of(st.binary(max_size=60), st.just(MARK), st.just(RECORDS[0][:40])), max_size=8))
def test_whatever_the_bytes_are_they_are_damage_to_the_last_and_nothing_else(pieces: list[bytes]) -> None:
    data = b"".join(pieces)
    found = list(scan_records(data))
    assert names(found) == []
    assert sum(one.size for one in found if isinstance(one, Damage)) == len(data)
