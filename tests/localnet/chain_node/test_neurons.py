import pytest
from bittensor.sp_core import Keypair
from hypothesis import given, settings
from hypothesis import strategies as st

from localnet.chain_node.genesis import Genesis, put_hyperparameter, write_genesis
from localnet.chain_node.ledger import Ledger
from localnet.chain_node.neurons import adopt_hotkey, free_uid, neuron_count, seat, set_entry, uid_of
from localnet.chain_node.queries.metagraph import metagraph
from localnet.chain_node.queries.neurons import neurons, neurons_lite
from localnet.chain_node.queries.stake import stake_availability, stake_of_coldkey, stake_of_pair
from localnet.chain_node.runtime import Runtime
from localnet.chain_node.state import CommittedState, Overlay
from tests.localnet.chain_node.running_node import NETUID

RUNTIME = Runtime(slot_duration_ms=1_000)
COLDKEY, OTHER_COLDKEY = (Keypair.create_from_uri(f"//cold{n}").ss58_address for n in range(2))
HOTKEYS = [Keypair.create_from_uri(f"//hot{n}").ss58_address for n in range(12)]
SLOTS = 4
IMMUNITY_BLOCKS = 3


@pytest.fixture
def ledger() -> Ledger:
    return subnet()


def subnet() -> Ledger:
    """A subnet of four places, in which newcomers are immune for three blocks."""
    ledger = Ledger(RUNTIME, Overlay(CommittedState({})))
    write_genesis(ledger, Genesis(NETUID), b"key")
    put_hyperparameter(ledger, NETUID, "max_allowed_uids", SLOTS)
    put_hyperparameter(ledger, NETUID, "immunity_period", IMMUNITY_BLOCKS)
    return ledger


def enter(ledger: Ledger, hotkey: str, block_number: int) -> int | None:
    uid = free_uid(ledger, NETUID, block_number)
    if uid is not None:
        assert adopt_hotkey(ledger, hotkey, COLDKEY)
        seat(ledger, NETUID, uid, hotkey, block_number)
    return uid


@settings(max_examples=40, deadline=None)
@given(st.lists(st.integers(0, 3), min_size=len(HOTKEYS), max_size=len(HOTKEYS)))
def test_uids_hotkeys_and_lists_always_agree(gaps: list[int]) -> None:
    ledger, block_number = subnet(), 0
    for hotkey, gap in zip(HOTKEYS, gaps, strict=True):
        block_number += gap
        enter(ledger, hotkey, block_number)
        count = neuron_count(ledger, NETUID)
        keys = dict(ledger.pairs("SubtensorModule.Keys", NETUID))
        uids = dict(ledger.pairs("SubtensorModule.Uids", NETUID))
        assert sorted(keys) == list(range(count))
        assert uids == {key: uid for uid, key in keys.items()}
        assert count <= SLOTS
        for item in ("ValidatorPermit", "LastUpdate", "Active"):
            assert len(ledger.get(f"SubtensorModule.{item}", NETUID)) == count
        members = [key for key in HOTKEYS if ledger.pairs("SubtensorModule.IsNetworkMember", key)]
        assert set(members) == set(uids)


def test_nobody_is_evicted_while_immune(ledger: Ledger) -> None:
    assert [enter(ledger, hotkey, 10) for hotkey in HOTKEYS[:SLOTS]] == [0, 1, 2, 3]
    assert enter(ledger, HOTKEYS[4], 10 + IMMUNITY_BLOCKS - 1) is None
    assert enter(ledger, HOTKEYS[4], 10 + IMMUNITY_BLOCKS) == 0


def test_the_oldest_goes_first_and_permit_holders_stay(ledger: Ledger) -> None:
    for block_number, hotkey in zip((5, 3, 4, 6), HOTKEYS[:SLOTS], strict=True):
        enter(ledger, hotkey, block_number)
    set_entry(ledger, "ValidatorPermit", NETUID, 1, True)
    assert enter(ledger, HOTKEYS[4], 50) == 2
    assert uid_of(ledger, NETUID, HOTKEYS[2]) is None
    assert uid_of(ledger, NETUID, HOTKEYS[1]) == 1


def test_a_hotkey_has_one_owner_for_good(ledger: Ledger) -> None:
    assert adopt_hotkey(ledger, HOTKEYS[0], COLDKEY)
    assert adopt_hotkey(ledger, HOTKEYS[0], COLDKEY)
    assert not adopt_hotkey(ledger, HOTKEYS[0], OTHER_COLDKEY)
    assert ledger.get("SubtensorModule.OwnedHotkeys", COLDKEY) == [HOTKEYS[0]]
    assert ledger.get("SubtensorModule.OwnedHotkeys", OTHER_COLDKEY) == []


def test_every_answer_about_neurons_tells_the_same(ledger: Ledger) -> None:
    for hotkey in HOTKEYS[:3]:
        enter(ledger, hotkey, 1)
    ledger.put("SubtensorModule.TotalHotkeyAlpha", HOTKEYS[1], NETUID, 42)
    ledger.put("SubtensorModule.Weights", NETUID, 1, [(0, 65_535), (2, 1)])
    graph, lite, full = metagraph(ledger, NETUID), neurons_lite(ledger, NETUID), neurons(ledger, NETUID)
    assert graph is not None
    assert graph["hotkeys"] == [n["hotkey"] for n in lite] == [n["hotkey"] for n in full] == HOTKEYS[:3]
    assert graph["total_stake"] == [n["stake"][0][1] for n in lite] == [0, 42, 0]
    assert [n["weights"] for n in full] == [[], [(0, 65_535), (2, 1)], []]
    assert metagraph(ledger, NETUID + 1) is None
    assert neurons(ledger, NETUID + 1) == []


def test_stake_belongs_to_the_owner_and_to_nobody_else(ledger: Ledger) -> None:
    enter(ledger, HOTKEYS[0], 1)
    ledger.put("SubtensorModule.TotalHotkeyAlpha", HOTKEYS[0], NETUID, 42)
    (record,) = stake_of_coldkey(ledger, COLDKEY)
    assert (record["hotkey"], record["stake"], record["is_registered"]) == (HOTKEYS[0], 42, True)
    assert stake_of_pair(ledger, HOTKEYS[0], COLDKEY, NETUID) == record
    assert stake_of_pair(ledger, HOTKEYS[0], OTHER_COLDKEY, NETUID) is None
    assert stake_of_pair(ledger, HOTKEYS[1], COLDKEY, NETUID) is None
    available = stake_availability(ledger, [COLDKEY, OTHER_COLDKEY], [NETUID, 5])
    assert available[COLDKEY][NETUID] == {"total": 42, "locked": 0, "available": 42}
    assert available[COLDKEY][5]["total"] == available[OTHER_COLDKEY][NETUID]["total"] == 0
