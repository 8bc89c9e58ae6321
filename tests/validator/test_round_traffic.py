"""Rounds are held when the chain calls for them, all members at once, and what is known of them survives."""

import asyncio
import stat
from collections.abc import Callable
from pathlib import Path

import pytest

from shared.canonical import sha256_hex
from shared.chain import Block
from shared.errors import ConfigError
from tests.validator.round_examples import CONFIG, SECRET, block_hash, drawn_blocks, hotkeys
from validator.database import Database
from validator.probe_rounds import BLOCK_MS, MAX_ROUND_LAG_MS, MOST_REQUESTS, members, round_after
from validator.round_state import KEY_BYTES, KEY_FILE, RoundState, load_round_key
from validator.round_traffic import ASK_AGAIN_S, MOST_ROUNDS_AT_ONCE, RoundTraffic
from validator.synthetic_client import Reply
from validator.synthetic_prompts import Opening
from validator.synthetic_requests import Draft

MINERS = hotkeys(6)
EPOCH = 4
ANSWER_MS = 3_000
"""How long an answer in a round that asks everybody takes here."""


class Probed:
    """Notes who is asked what and when; answers, refuses, gives no id, hangs or breaks.

    Attributes:
        first: what becomes of the first requests to a hotkey, whatever becomes of the others.
    """

    def __init__(self, how: str = "answers", answer_ms: int = ANSWER_MS) -> None:
        self.asked: list[str] = []
        self.drafts: dict[str, list[Draft]] = {}
        self.written: list[Draft] = []
        self.first: dict[str, list[str]] = {}
        self.answer_ms = answer_ms
        self.pass_time: Callable[[int], None] = lambda _: None
        self.how = how
        self.under_way = self.most_at_once = 0

    def write_probe(self, seeded: bool) -> Draft:
        self.written.append(Draft("/", {"number": len(self.written), "seeded": seeded}, False, Opening("")))
        return self.written[-1]

    async def probe(self, draft: Draft, miner_hotkey: str) -> Reply | None:
        self.asked.append(miner_hotkey)
        self.drafts.setdefault(miner_hotkey, []).append(draft)
        name = f"request-{len(self.asked):04d}"
        self.under_way += 1
        self.most_at_once = max(self.most_at_once, self.under_way)
        last = len(self.asked) % len(MINERS) == 0
        await asyncio.sleep(0)
        if self.how == "answers" and last:
            self.pass_time(self.answer_ms)
        if self.how == "hangs":
            await asyncio.Event().wait()
        if self.how == "breaks":
            raise ZeroDivisionError("a defect")
        self.under_way -= 1
        how = self.first[miner_hotkey].pop(0) if self.first.get(miner_hotkey) else self.how
        replies = {
            "answers": Reply("An answer.", name),
            "refuses": Reply(None, name),
            "gives no id": Reply(None),
        }
        return replies.get(how)


class Rig:
    """Rounds on a chain of the examples' blocks, in a time that passes while it waits in full rounds."""

    def __init__(self, database: Database, probed: Probed) -> None:
        self.state, self.probed = RoundState(database), probed
        self.now_ms = 0
        self.slept_s: list[float] = []
        self.height = -1
        self.epoch: tuple[int, str] | None = (EPOCH, SECRET)
        self.late_ms, self.block_ms = 0, BLOCK_MS
        probed.pass_time = self._pass
        self.traffic = RoundTraffic(
            lambda: MINERS,
            self.newest,
            lambda: self.epoch,
            probed,
            self.state,
            CONFIG,
            lambda: self.now_ms,
            self._sleep,
        )

    def newest(self) -> Block | None:
        if self.height < 0:
            return None
        return Block(self.height, block_hash(self.height), self.height * self.block_ms)

    async def _sleep(self, seconds: float) -> None:
        self.slept_s.append(seconds)
        if seconds == ASK_AGAIN_S:
            self._pass(round(seconds * 1000))

    def _pass(self, elapsed_ms: int) -> None:
        self.now_ms += elapsed_ms

    async def show(self, number: int) -> None:
        """The chain has come to this block, and the auditor looks at it."""
        self.height, self.now_ms = number, number * self.block_ms + self.late_ms
        await self.traffic.look()
        if self.probed.how != "hangs":
            await self.traffic.join()

    async def until(self, condition: Callable[[], bool]) -> None:
        async with asyncio.timeout(60):
            while not condition():
                await asyncio.sleep(0)


def halves(count: int) -> list[int]:
    """The first blocks that are followed by a round that asks a half."""
    return [one for one in drawn_blocks(3 * count + 9) if not is_full(one)][:count]


def fulls(count: int) -> list[int]:
    """The first blocks that are followed by a round that asks everybody, far enough apart."""
    found = [one for one in drawn_blocks(20 * count + 9) if is_full(one)]
    return [one for place, one in enumerate(found) if not place or one > found[place - 1] + 4][:count]


def is_full(number: int) -> bool:
    drawn = round_after(SECRET, block_hash(number), CONFIG)
    return drawn is not None and drawn.full


def asked_after(number: int) -> list[str]:
    drawn = round_after(SECRET, block_hash(number), CONFIG)
    assert drawn is not None
    return [
        one
        for one in members(SECRET, block_hash(number), drawn.full, MINERS)
        for _ in range(drawn.requests_each)
    ]


async def test_the_drawn_members_are_asked_at_once_and_their_ids_kept(database: Database) -> None:
    rig = Rig(database, Probed())
    for number in halves(3):
        rig.probed.asked.clear()
        await rig.show(number)
        assert rig.probed.asked == asked_after(number)
        held = rig.state.of(EPOCH)[-1]
        assert (held.block, held.block_hash, held.miners) == (
            number,
            block_hash(number),
            tuple(sorted(MINERS)),
        )
        assert [one.hotkey for one in held.asked] == list(
            members(SECRET, block_hash(number), held.full, MINERS)
        )
        assert all(len(one.request_ids) == held.requests_each for one in held.asked)
    assert rig.probed.most_at_once > 1


async def test_in_a_full_round_each_is_asked_again_until_its_time_is_over(database: Database) -> None:
    rig = Rig(database, Probed())
    for number in fulls(2):
        await rig.show(number)
        held = rig.state.of(EPOCH)[-1]
        assert held.full
        assert [one.hotkey for one in held.asked] == sorted(MINERS)
        times = CONFIG.full_round_ms // ANSWER_MS
        assert {len(one.request_ids) for one in held.asked} <= {times, times + 1}
        names = [name for one in held.asked for name in one.request_ids]
        assert len(set(names)) == len(names)


async def test_in_a_full_round_nobody_is_asked_before_it_has_answered(database: Database) -> None:
    rig = Rig(database, Probed())
    await rig.show(fulls(1)[0])
    assert rig.probed.most_at_once <= len(MINERS)


async def test_answers_that_take_no_time_are_asked_for_so_often_and_no_oftener(database: Database) -> None:
    rig = Rig(database, Probed(answer_ms=0))
    await rig.show(fulls(1)[0])
    (held,) = rig.state.of(EPOCH)
    assert {len(one.request_ids) for one in held.asked} == {MOST_REQUESTS}


async def test_who_can_not_be_asked_in_a_full_round_is_tried_again_after_a_pause(database: Database) -> None:
    rig = Rig(database, Probed("gives no id"))
    await rig.show(fulls(1)[0])
    assert len(rig.probed.asked) > len(MINERS)
    assert rig.slept_s.count(ASK_AGAIN_S) >= CONFIG.full_round_ms / 1000 / ASK_AGAIN_S / len(MINERS)


async def test_what_a_member_does_not_answer_it_is_asked_again_until_it_does(database: Database) -> None:
    """Also when the gateway lets nothing through to it for a while, because it failed."""
    rig = Rig(database, Probed())
    rig.probed.first = {MINERS[2]: ["answers", "refuses", "gives no id", "refuses", "answers"]}
    await rig.show(fulls(1)[0])
    numbers = [one.body["number"] for one in rig.probed.drafts[MINERS[2]]]
    assert len(set(numbers[1:5])) == 1
    assert len({numbers[0], numbers[1], *numbers[5:]}) == len(numbers) - 3
    assert rig.slept_s.count(ASK_AGAIN_S) == 3
    others = [
        one.body["number"] for miner in MINERS if miner != MINERS[2] for one in rig.probed.drafts[miner]
    ]
    assert len(set(others)) == len(others)
    assert all(one.body["seeded"] for one in rig.probed.written), "the same again has the same answer"


async def test_who_refuses_everything_is_asked_one_request_at_bounded_pace(database: Database) -> None:
    rig = Rig(database, Probed("refuses"))
    await rig.show(fulls(1)[0])
    (held,) = rig.state.of(EPOCH)
    assert all(len({one.body["number"] for one in drafts}) == 1 for drafts in rig.probed.drafts.values())
    assert all(1 < len(one.request_ids) < MOST_REQUESTS for one in held.asked)


async def test_what_the_gateway_takes_for_no_request_is_not_asked_again(database: Database) -> None:
    rig = Rig(database, Probed())
    rig.probed.first = {miner: ["gives no id"] * 3 for miner in MINERS}
    await rig.show(fulls(1)[0])
    asked = [one.body["number"] for drafts in rig.probed.drafts.values() for one in drafts]
    assert len(set(asked)) == len(asked)


async def test_in_a_round_of_a_half_nothing_is_asked_again_and_nothing_marks_it(database: Database) -> None:
    rig = Rig(database, Probed("refuses"))
    await rig.show(halves(1)[0])
    assert len(rig.probed.asked) == len(asked_after(halves(1)[0]))
    assert not any(one.body["seeded"] for one in rig.probed.written)


async def test_while_a_full_round_goes_on_no_other_begins(database: Database) -> None:
    """The next rounds come so soon that the full one is not over."""
    rig = Rig(database, Probed())
    number = next(one for one in fulls(20) if round_after(SECRET, block_hash(one + 1), CONFIG))
    rig.block_ms = BLOCK_MS
    await rig.show(number)
    assert len(rig.state.of(EPOCH)) == 1
    await rig.show(number + 1)
    assert len(rig.state.of(EPOCH)) == 1


async def test_no_round_follows_a_block_that_draws_none(database: Database) -> None:
    rig = Rig(database, Probed())
    for number in set(range(20)) - set(drawn_blocks(10)):
        await rig.show(number)
    assert (rig.probed.asked, rig.state.of(EPOCH)) == ([], [])


async def test_a_block_has_one_round_even_after_a_restart(database: Database) -> None:
    number = drawn_blocks(1)[0]
    await Rig(database, Probed()).show(number)
    again = Rig(database, Probed())
    await again.show(number)
    assert again.probed.asked == []


async def test_a_fast_chain_has_no_more_rounds(database: Database) -> None:
    """Ten blocks in 12 s are one chance of a round, the first of them."""
    rig = Rig(database, Probed())
    rig.block_ms = BLOCK_MS // 10
    for number in range(200):
        await rig.show(number)
    held = [one.block for one in rig.state.of(EPOCH)]
    chances = [number for number in drawn_blocks(60) if number % 10 == 0 and number < 200]
    assert held
    assert set(held) <= set(chances)
    assert set(chances) - set(held) <= {
        one for one in chances for full in held if is_full(full) and 0 < one - full <= 20
    }


async def test_a_block_that_is_seen_late_has_no_round(database: Database) -> None:
    rig = Rig(database, Probed())
    rig.late_ms = MAX_ROUND_LAG_MS
    await rig.show(drawn_blocks(1)[0])
    assert rig.probed.asked == []


async def test_without_an_open_epoch_or_with_another_secret_nothing_is_asked(database: Database) -> None:
    for epoch in (None, (EPOCH, sha256_hex(b"another"))):
        rig = Rig(database, Probed())
        rig.epoch = epoch
        number = next(
            n for n in drawn_blocks(20) if not epoch or round_after(epoch[1], block_hash(n), CONFIG) is None
        )
        await rig.show(number)
        assert rig.probed.asked == []


@pytest.mark.parametrize("how", ["gives no id", "breaks"])
async def test_members_whose_requests_have_no_id_stay_members(database: Database, how: str) -> None:
    rig = Rig(database, Probed(how))
    await rig.show(halves(1)[0])
    (held,) = rig.state.of(EPOCH)
    assert held.asked
    assert all(one.request_ids == () for one in held.asked)


async def test_miners_that_hang_can_not_hold_up_more_than_so_many_rounds(database: Database) -> None:
    rig = Rig(database, Probed("hangs"))
    numbers = halves(MOST_ROUNDS_AT_ONCE + 4)
    for number in numbers:
        await rig.show(number)
    expected = [one for number in numbers[:MOST_ROUNDS_AT_ONCE] for one in asked_after(number)]
    await rig.until(lambda: len(rig.probed.asked) >= len(expected))
    await rig.traffic.stop()
    assert [one.block for one in rig.state.of(EPOCH)] == numbers[:MOST_ROUNDS_AT_ONCE]
    assert sorted(rig.probed.asked) == sorted(expected)


async def test_a_round_comes_when_it_is_drawn_to_come(database: Database) -> None:
    rig = Rig(database, Probed())
    number = halves(1)[0]
    await rig.show(number)
    drawn = round_after(SECRET, block_hash(number), CONFIG)
    assert drawn is not None
    assert rig.slept_s == [drawn.delay_ms / 1000]


async def test_it_looks_at_the_chain_until_it_is_cancelled(database: Database) -> None:
    rig = Rig(database, Probed())
    rig.height = halves(1)[0]
    rig.now_ms = rig.height * BLOCK_MS
    looks = asyncio.Event()

    async def sleep(seconds: float) -> None:
        looks.set()
        await asyncio.sleep(0)

    traffic = RoundTraffic(
        lambda: MINERS,
        rig.newest,
        lambda: rig.epoch,
        rig.probed,
        rig.state,
        CONFIG,
        lambda: rig.now_ms,
        sleep,
    )
    running = asyncio.create_task(traffic.run())
    await rig.until(lambda: rig.probed.asked == asked_after(rig.height) and looks.is_set())
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    assert running.cancelled()


async def test_settled_rounds_change_no_more(database: Database) -> None:
    rig = Rig(database, Probed())
    first, second = halves(2)
    for number in (first, second):
        await rig.show(number)
    kept, dropped = rig.state.of(EPOCH)
    rig.state.settle(EPOCH, [kept])
    rig.state.note(kept.model_copy(update={"asked": ()}))
    rig.state.note(dropped)
    assert rig.state.of(EPOCH) == [kept]
    rig.state.forget(EPOCH)
    assert rig.state.of(EPOCH) == []


def test_the_key_stays_and_nobody_else_reads_it(tmp_path: Path) -> None:
    key = load_round_key(tmp_path / "state")
    assert load_round_key(tmp_path / "state") == key
    assert load_round_key(tmp_path / "other") != key
    assert stat.S_IMODE((tmp_path / "state" / KEY_FILE).stat().st_mode) == 0o600


def test_a_damaged_key_is_told_with_its_cure(tmp_path: Path) -> None:
    (tmp_path / KEY_FILE).write_bytes(b"short")
    with pytest.raises(ConfigError, match=f"not {KEY_BYTES}: delete it"):
        load_round_key(tmp_path)


def test_a_key_that_can_not_be_read_is_told(tmp_path: Path) -> None:
    (tmp_path / KEY_FILE).mkdir()
    with pytest.raises(ConfigError, match="check --state-dir"):
        load_round_key(tmp_path)
