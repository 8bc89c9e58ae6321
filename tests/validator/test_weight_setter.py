import logging

import pytest

from shared.chain import Neuron
from shared.errors import ChainError, ChainUnavailable
from tests.validator.audit_rig import subnet
from tests.validator.auditor_examples import ALSO_HONEST, AUDITOR, CHEAT, HONEST, ExampleChain
from validator.database import Database
from validator.weight_setter import RETRY_BLOCKS, SETTLE_BLOCKS, WeightSetter
from validator.weight_state import EpochWeights, WeightEntry, WeightQueue

ENTRIES = [WeightEntry(1, HONEST.ss58_address, 65535), WeightEntry(2, ALSO_HONEST.ss58_address, 30000)]
WEIGHTS = {1: 65535, 2: 30000}


class Rig:
    def __init__(self, database: Database) -> None:
        self.chain = ExampleChain(subnet(), height=100)
        self.queue = WeightQueue(database)
        self.restart()

    def restart(self) -> None:
        self.setter = WeightSetter(self.chain, self.queue, AUDITOR.ss58_address, 97)

    def newest(self) -> EpochWeights:
        found = self.queue.newest()
        assert found is not None
        return found

    def replace_neuron(self, uid: int, **changes: object) -> None:
        self.chain.registered = [
            Neuron(**(vars(one) | changes)) if one.uid == uid else one for one in self.chain.registered
        ]


@pytest.fixture
def rig(database: Database) -> Rig:
    built = Rig(database)
    built.queue.queue(7, ENTRIES, "")
    return built


async def test_weights_are_set_once(rig: Rig) -> None:
    for _ in range(3):
        await rig.setter.step()
        rig.chain.height += 50
    assert rig.chain.on_chain == {0: WEIGHTS}
    assert rig.chain.sent == [WEIGHTS]
    assert rig.newest().state == "set"


async def test_without_weights_the_chain_is_not_asked(database: Database) -> None:
    empty = Rig(database)
    empty.chain.down = True
    await empty.setter.step()


async def test_a_kill_between_storing_and_sending_sends_after_the_restart(rig: Rig) -> None:
    rig.restart()
    await rig.setter.step()
    assert rig.chain.sent == [WEIGHTS]


class Killed(BaseException):
    """What `kill -9` looks like from inside."""


async def test_a_kill_while_sending_that_never_arrived_sends_again_after_a_few_blocks(rig: Rig) -> None:
    rig.chain.next_errors = [Killed()]  # type: ignore[list-item]
    with pytest.raises(Killed):
        await rig.setter.step()
    assert rig.newest().state == "sending"
    rig.restart()
    await rig.setter.step()
    assert len(rig.chain.sent) == 1, "it may still be on its way"
    rig.chain.height += SETTLE_BLOCKS
    await rig.setter.step()
    assert rig.chain.on_chain == {0: WEIGHTS}
    assert rig.newest().state == "set"


async def test_a_kill_after_the_chain_accepted_does_not_send_twice(rig: Rig) -> None:
    rig.chain.lost_answers = 1
    with pytest.raises(ChainUnavailable):
        await rig.setter.step()
    assert rig.newest().state == "sending"
    rig.restart()
    rig.chain.height += 50
    await rig.setter.step()
    assert rig.newest().state == "set"
    assert len(rig.chain.sent) == 1


async def test_a_lost_answer_under_commit_reveal_is_recognised_by_the_last_update(rig: Rig) -> None:
    rig.chain.reveals, rig.chain.lost_answers = False, 1
    with pytest.raises(ChainUnavailable):
        await rig.setter.step()
    rig.chain.height += 50
    await rig.setter.step()
    assert rig.newest().state == "set"
    assert len(rig.chain.sent) == 1
    assert rig.chain.on_chain == {}


async def test_the_rate_limit_is_waited_for_to_the_block(rig: Rig) -> None:
    rig.chain.rate_limit = 100
    rig.replace_neuron(0, last_update=60)
    for height in (100, 130, 159):
        rig.chain.height = height
        await rig.setter.step()
    assert rig.chain.sent == []
    assert "they are sent at block 160" in rig.newest().detail
    rig.chain.height = 160
    await rig.setter.step()
    assert rig.newest().state == "set"


async def test_a_hotkey_that_never_set_weights_does_not_wait(rig: Rig) -> None:
    rig.chain.rate_limit = 1000
    await rig.setter.step()
    assert rig.newest().state == "set"


@pytest.mark.parametrize("code", ["rate_limited", "SettingWeightsTooFast", "CommittingWeightsTooFast"])
async def test_too_fast_is_tried_again_at_the_next_block(rig: Rig, code: str) -> None:
    rig.chain.next_errors = [ChainError("too fast", code)]
    await rig.setter.step()
    assert rig.newest().state == "pending"
    await rig.setter.step()
    assert len(rig.chain.sent) == 1, "not twice at the same block"
    rig.chain.height += SETTLE_BLOCKS
    await rig.setter.step()
    assert rig.newest().state == "set"


@pytest.mark.parametrize(
    ("code", "cure"),
    [
        ("not_registered", "btcli subnets register --netuid 97"),
        ("HotKeyNotRegisteredInSubNet", "btcli subnets register --netuid 97"),
        ("NeuronNoValidatorPermit", "add stake"),
        ("NotEnoughStakeToSetWeights", "btcli stake add"),
        ("SomethingNew", "tried again in 25 blocks"),
    ],
)
async def test_a_refusal_is_explained_with_its_cure_and_tried_again(
    rig: Rig, caplog: pytest.LogCaptureFixture, code: str, cure: str
) -> None:
    rig.chain.next_errors = [ChainError("refused", code)]
    with caplog.at_level(logging.ERROR):
        await rig.setter.step()
    assert cure in caplog.text
    assert cure in rig.newest().detail
    await rig.setter.step()
    assert len(rig.chain.sent) == 1
    rig.chain.height += RETRY_BLOCKS
    await rig.setter.step()
    assert rig.newest().state == "set"


async def test_an_unregistered_hotkey_sends_nothing_and_says_how_to_register(rig: Rig) -> None:
    rig.chain.registered = [one for one in rig.chain.registered if one.uid != 0]
    await rig.setter.step()
    assert rig.chain.sent == []
    assert "btcli subnets register" in rig.newest().detail


async def test_newer_weights_do_not_wait_for_the_patience_of_older_ones(rig: Rig) -> None:
    rig.chain.next_errors = [ChainError("refused", "NeuronNoValidatorPermit")]
    await rig.setter.step()
    rig.queue.queue(8, ENTRIES[:1], "")
    await rig.setter.step()
    assert rig.chain.on_chain == {0: {1: 65535}}
    assert rig.newest() == EpochWeights(8, tuple(ENTRIES[:1]), "set", "accepted after block 100", 100)


async def test_superseded_weights_are_not_sent(rig: Rig) -> None:
    rig.queue.queue(8, ENTRIES[:1], "")
    await rig.setter.step()
    assert rig.chain.sent == [{1: 65535}]


async def test_a_uid_that_changed_hands_gets_no_weight(rig: Rig) -> None:
    rig.replace_neuron(2, hotkey=CHEAT.ss58_address)
    await rig.setter.step()
    assert rig.chain.sent == [{1: 65535}]


async def test_when_every_earner_has_left_nothing_is_sent(rig: Rig) -> None:
    rig.chain.registered = [one for one in rig.chain.registered if one.uid == 0]
    await rig.setter.step()
    assert rig.chain.sent == []
    assert rig.newest().state == "skipped"


async def test_an_unreachable_chain_changes_nothing(rig: Rig) -> None:
    rig.chain.down = True
    with pytest.raises(ChainUnavailable):
        await rig.setter.step()
    assert rig.newest().state == "pending"
    rig.chain.down = False
    await rig.setter.step()
    assert rig.newest().state == "set"
