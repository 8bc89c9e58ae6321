import logging

import pytest

from shared.chain import Neuron
from shared.errors import ChainError, ChainUnavailable, OutcomeUnknown
from tests.validator.audit_rig import subnet
from tests.validator.auditor_examples import ALSO_HONEST, AUDITOR, CHEAT, HONEST, ExampleChain
from validator.database import Database
from validator.weight_setter import RETRY_BLOCKS, REVEAL_LOOK_BLOCKS, SETTLE_BLOCKS, WeightSetter
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
    assert rig.newest().state == "committed"
    assert len(rig.chain.sent) == 1
    assert rig.chain.on_chain == {}


async def test_a_lost_answer_is_recognised_before_the_era_is_over(rig: Rig) -> None:
    rig.chain.lost_answers = 1
    with pytest.raises(ChainUnavailable):
        await rig.setter.step()
    rig.chain.height += 1
    await rig.setter.step()
    assert rig.newest().state == "set"


async def test_what_was_not_even_begun_is_sent_as_soon_as_the_chain_is_back(rig: Rig) -> None:
    rig.chain.next_errors = [ChainUnavailable("no endpoint answers")]
    with pytest.raises(ChainUnavailable):
        await rig.setter.step()
    assert rig.newest().state == "pending"
    await rig.setter.step()
    assert rig.newest().state == "set"


async def test_committed_weights_are_set_once_the_chain_has_revealed_them(rig: Rig) -> None:
    rig.chain.reveals = False
    await rig.setter.step()
    assert rig.newest().detail == "committed to in block 101; the chain reveals them later"
    for _ in range(3):
        rig.chain.height += 50
        await rig.setter.step()
        assert rig.newest().state == "committed"
    rig.chain.on_chain, rig.chain.weight_commit = {0: WEIGHTS}, None
    rig.chain.height += REVEAL_LOOK_BLOCKS
    await rig.setter.step()
    assert rig.newest().state == "set"
    assert len(rig.chain.sent) == 1


async def test_a_commit_that_was_never_revealed_is_told_and_made_again(
    rig: Rig, caplog: pytest.LogCaptureFixture
) -> None:
    rig.chain.reveals = False
    await rig.setter.step()
    rig.restart()
    rig.chain.weight_commit = None
    rig.chain.on_chain = {0: {1: 65535}}
    rig.chain.height += REVEAL_LOOK_BLOCKS
    await rig.setter.step()
    assert "without revealing it, the chain shows 0 instead of 30000 for uid 2" in caplog.text
    assert len(rig.chain.sent) == 2
    assert rig.newest().state == "committed"


async def test_newer_weights_follow_committed_ones(rig: Rig) -> None:
    rig.chain.reveals = False
    await rig.setter.step()
    rig.queue.queue(8, ENTRIES[:1], "")
    await rig.setter.step()
    assert rig.chain.sent == [WEIGHTS, {1: 65535}]


async def test_weights_of_another_process_with_this_hotkey_are_not_taken_for_ours(
    rig: Rig, caplog: pytest.LogCaptureFixture
) -> None:
    rig.chain.next_errors = [OutcomeUnknown("the connection broke")]
    with pytest.raises(OutcomeUnknown):
        await rig.setter.step()
    rig.chain.height += 1
    rig.replace_neuron(0, last_update=rig.chain.height)
    rig.chain.on_chain = {0: {3: 65535}}
    rig.chain.rate_limit = 10
    await rig.setter.step()
    assert "another process sets weights with this hotkey" in caplog.text
    assert "they are sent at block 111" in rig.newest().detail
    rig.chain.height = 111
    await rig.setter.step()
    assert rig.chain.on_chain == {0: WEIGHTS}
    assert rig.newest().state == "set"


async def test_accepted_weights_that_the_chain_does_not_show_are_told(
    rig: Rig, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def overwritten() -> dict[int, dict[int, int]]:
        return {0: {1: 65535, 2: 1, 5: 9}}

    monkeypatch.setattr(rig.chain, "weights", overwritten)
    await rig.setter.step()
    told = "accepted, but the chain shows 1 instead of 30000 for uid 2, 9 instead of 0 for uid 5"
    assert rig.newest().detail == told
    assert "another process may set weights" in caplog.text


async def test_a_reading_back_that_fails_is_made_later_and_nothing_is_sent_again(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def away() -> dict[int, dict[int, int]]:
        raise ChainUnavailable("no endpoint answers")

    with monkeypatch.context() as broken:
        broken.setattr(rig.chain, "weights", away)
        with pytest.raises(ChainUnavailable):
            await rig.setter.step()
    assert rig.newest().state == "sending"
    rig.restart()
    await rig.setter.step()
    assert rig.newest().state == "set"
    assert len(rig.chain.sent) == 1


async def test_miners_that_left_after_the_weights_were_sent_are_no_difference(rig: Rig) -> None:
    rig.chain.lost_answers = 1
    with pytest.raises(ChainUnavailable):
        await rig.setter.step()
    rig.replace_neuron(2, hotkey=CHEAT.ss58_address)
    rig.chain.height += 1
    await rig.setter.step()
    assert rig.newest().state == "set"
    assert len(rig.chain.sent) == 1


async def test_a_refusal_for_haste_says_from_which_block_on(rig: Rig) -> None:
    rig.chain.next_errors = [ChainError("too fast", "SettingWeightsTooFast")]
    rig.chain.rate_limit = 100
    rig.replace_neuron(0, last_update=0)

    async def refuse_and_show(weights: object) -> None:
        rig.replace_neuron(0, last_update=90)
        raise ChainError("too fast", "SettingWeightsTooFast")

    rig.chain.set_weights = refuse_and_show  # type: ignore[method-assign]
    await rig.setter.step()
    assert rig.newest().detail == "the chain takes weights every 100 blocks; they are sent at block 190"


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


@pytest.mark.parametrize(
    "code", ["rate_limited", "SettingWeightsTooFast", "CommittingWeightsTooFast", "PoolFull", "Stale"]
)
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
        ("TooManyUnrevealedCommits", "must be revealed first"),
        ("IncorrectCommitRevealVersion", "update it; tried again in 25 blocks"),
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
