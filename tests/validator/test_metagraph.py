import logging

import pytest

from shared.chain import Neuron
from shared.errors import ChainUnavailable
from tests.validator.auditor_examples import ALSO_HONEST, AUDITOR, CHEAT, HONEST, ExampleChain, neuron
from validator.metagraph import TOLD_CHANGES, Metagraph

OWN = neuron(AUDITOR, 0, None, validator_permit=True)
MINER = neuron(HONEST, 1)


async def told(
    caplog: pytest.LogCaptureFixture, before: list[Neuron], after: list[Neuron], own_hotkey: str = ""
) -> list[str]:
    """What two readings have to say."""
    chain = ExampleChain(before)
    graph = Metagraph(chain, own_hotkey)
    with caplog.at_level(logging.INFO):
        await graph.refresh()
        caplog.clear()
        chain.registered = after
        await graph.refresh()
    return list(caplog.messages)


async def test_nothing_new_is_not_told(caplog: pytest.LogCaptureFixture) -> None:
    assert await told(caplog, [OWN, MINER], [OWN, MINER], AUDITOR.ss58_address) == []


async def test_the_first_reading_is_no_change(caplog: pytest.LogCaptureFixture) -> None:
    assert await told(caplog, [], [OWN, MINER]) == []


async def test_a_new_hotkey_on_an_old_uid_is_told_with_who_had_it(caplog: pytest.LogCaptureFixture) -> None:
    assert await told(caplog, [OWN, MINER], [OWN, neuron(CHEAT, 1)]) == [
        f"{HONEST.ss58_address}, uid 1, has left the subnet",
        f"{CHEAT.ss58_address} is new, as uid 1, which was {HONEST.ss58_address}'s",
    ]


async def test_a_new_uid_and_a_changed_axon_are_told(caplog: pytest.LogCaptureFixture) -> None:
    moved = neuron(HONEST, 1, "127.0.0.1:9001")
    assert await told(caplog, [OWN, MINER], [OWN, moved, neuron(ALSO_HONEST, 2)]) == [
        f"{ALSO_HONEST.ss58_address} is new, as uid 2",
        f"{HONEST.ss58_address}, uid 1, has moved from 127.0.0.1:9000 to 127.0.0.1:9001",
    ]


async def test_a_hotkey_that_comes_back_on_another_uid_is_told(caplog: pytest.LogCaptureFixture) -> None:
    assert await told(caplog, [OWN, MINER], [OWN, neuron(HONEST, 7)]) == [
        f"{HONEST.ss58_address} has uid 7 instead of 1"
    ]


async def test_a_lost_permit_is_told_of_others_and_as_an_error_with_its_cure_of_oneself(
    caplog: pytest.LogCaptureFixture,
) -> None:
    without = neuron(AUDITOR, 0, None)
    messages = await told(caplog, [OWN, MINER], [without, MINER], AUDITOR.ss58_address)
    assert messages[0] == f"{AUDITOR.ss58_address}, uid 0, has lost its validator permit"
    assert "the chain its weights: add stake to it" in messages[1]
    assert [record.levelno for record in caplog.records] == [logging.INFO, logging.ERROR]


async def test_ones_own_trouble_is_told_once_and_so_is_its_end(caplog: pytest.LogCaptureFixture) -> None:
    chain = ExampleChain([MINER])
    graph = Metagraph(chain, AUDITOR.ss58_address)
    with caplog.at_level(logging.INFO):
        await graph.refresh()
        await graph.refresh()
        assert caplog.text.count("is not registered on the subnet: register it with btcli") == 1
        chain.registered = [OWN, MINER]
        await graph.refresh()
        await graph.refresh()
    assert caplog.text.count("is registered and has its validator permit again") == 1


async def test_many_changes_are_counted(caplog: pytest.LogCaptureFixture) -> None:
    many = [Neuron(uid, f"hotkey {uid}", None, False, 0, 0) for uid in range(1, 41)]
    messages = await told(caplog, [OWN], [OWN, *many])
    assert len(messages) == TOLD_CHANGES + 1
    assert messages[-1] == "and 20 more changes of the metagraph"


async def test_a_chain_that_is_away_changes_nothing() -> None:
    chain = ExampleChain([OWN, MINER])
    graph = Metagraph(chain)
    await graph.refresh()
    chain.down = True
    with pytest.raises(ChainUnavailable):
        await graph.refresh()
    assert graph.neuron(HONEST.ss58_address) == MINER
