from hypothesis import given
from hypothesis import strategies as st

from localnet.chain_node.state import CommittedState, Overlay

KEYS = st.binary(min_size=1, max_size=2)
VALUES = st.binary(max_size=3)
CHANGES = st.dictionaries(KEYS, st.none() | VALUES, max_size=12)


def applied(values: dict[bytes, bytes], changes: dict[bytes, bytes | None]) -> dict[bytes, bytes]:
    merged = {**values, **changes}
    return {key: value for key, value in merged.items() if value is not None}


def contents(state: CommittedState | Overlay, prefix: bytes = b"") -> list[tuple[bytes, bytes | None]]:
    return [(key, state.read(key)) for key in state.keys(prefix)]


@given(st.dictionaries(KEYS, VALUES), CHANGES, st.binary(max_size=1))
def test_a_layer_reads_like_the_state_with_its_changes_applied(
    values: dict[bytes, bytes], changes: dict[bytes, bytes | None], prefix: bytes
) -> None:
    layer = Overlay(CommittedState(values), changes)
    expected = sorted(item for item in applied(values, changes).items() if item[0].startswith(prefix))
    assert contents(layer, prefix) == expected


@given(st.dictionaries(KEYS, VALUES), CHANGES)
def test_applying_changes_gives_what_the_layer_showed(
    values: dict[bytes, bytes], changes: dict[bytes, bytes | None]
) -> None:
    state = CommittedState(values)
    shown = contents(Overlay(state, changes))
    state.apply(changes)
    assert contents(state) == shown


@given(st.dictionaries(KEYS, VALUES), CHANGES, CHANGES)
def test_a_nested_layer_changes_nothing_until_it_is_taken_over(
    values: dict[bytes, bytes], first: dict[bytes, bytes | None], second: dict[bytes, bytes | None]
) -> None:
    block = Overlay(CommittedState(values), first)
    before = contents(block)
    extrinsic = Overlay(block)
    for key, value in second.items():
        extrinsic.write(key, value)
    assert contents(block) == before
    shown = contents(extrinsic)
    block.absorb(extrinsic.changes)
    assert contents(block) == shown


@given(st.dictionaries(KEYS, VALUES), CHANGES)
def test_only_real_changes_are_kept(values: dict[bytes, bytes], changes: dict[bytes, bytes | None]) -> None:
    effective = Overlay(CommittedState(values), changes).effective_changes()
    assert applied(values, dict(effective)) == applied(values, changes)
    assert all(values.get(key) != value for key, value in effective.items())
