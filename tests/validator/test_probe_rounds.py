"""Rounds are drawn from block and secret together: often enough, and each member by itself."""

from itertools import combinations

from shared.canonical import sha256_hex
from tests.validator.round_examples import CONFIG, SECRET, block_hash, hotkeys
from validator.probe_rounds import BLOCK_MS, epoch_secret, members, round_after, secret_commitment

BLOCKS = [block_hash(number) for number in range(4000)]
OTHER = sha256_hex(b"another secret")


def test_so_large_a_share_of_blocks_is_followed_by_a_round() -> None:
    drawn = [one for block in BLOCKS if (one := round_after(SECRET, block, CONFIG))]
    assert abs(len(drawn) / len(BLOCKS) - CONFIG.round_share) < 0.025
    assert abs(sum(one.full for one in drawn) / len(drawn) - CONFIG.full_round_share) < 0.07
    wide = [one for one in drawn if one.requests_each > 1]
    assert not any(one.full for one in wide)
    assert {one.requests_each for one in wide} == {CONFIG.wide_round_requests}
    assert abs(len(wide) / len(drawn) - CONFIG.wide_round_share) < 0.065


def test_rounds_come_at_any_time_after_their_block() -> None:
    delays = sorted(one.delay_ms for block in BLOCKS if (one := round_after(SECRET, block, CONFIG)))
    for part in (0.25, 0.5, 0.75):
        assert abs(delays[int(part * len(delays))] / BLOCK_MS - part) < 0.08
    assert 0 <= delays[0] <= delays[-1] < BLOCK_MS


def test_another_secret_or_block_draws_other_rounds() -> None:
    both = sum(
        round_after(SECRET, block, CONFIG) is not None and round_after(OTHER, block, CONFIG) is not None
        for block in BLOCKS
    )
    assert abs(both / len(BLOCKS) - CONFIG.round_share**2) < 0.02


def test_each_miner_is_a_member_half_the_time_whoever_else_is() -> None:
    miners = hotkeys(5)
    drawn = [set(members(SECRET, block, False, miners)) for block in BLOCKS]
    for one in miners:
        assert abs(sum(one in asked for asked in drawn) / len(drawn) - 0.5) < 0.04
    for pair in combinations(miners, 2):
        assert abs(sum(asked.issuperset(pair) for asked in drawn) / len(drawn) - 0.25) < 0.035


def test_whether_a_miner_is_a_member_does_not_depend_on_who_else_could_be() -> None:
    miners = hotkeys(6)
    for block in BLOCKS[:50]:
        among_all, among_few = (
            members(SECRET, block, False, miners),
            members(SECRET, block, False, miners[:3]),
        )
        assert [one for one in among_all if one in miners[:3]] == list(among_few)
        assert members(SECRET, block, False, miners[::-1]) == among_all


def test_a_full_round_asks_everybody() -> None:
    miners = hotkeys(9)
    assert members(SECRET, BLOCKS[0], True, miners[::-1]) == tuple(miners)


def test_secrets_differ_from_epoch_to_epoch_and_from_key_to_key() -> None:
    secrets = {epoch_secret(bytes([key] * 32), epoch) for key in range(3) for epoch in range(50)}
    assert len(secrets) == 150
    assert epoch_secret(bytes(32), 7) == epoch_secret(bytes(32), 7)
    assert len({secret_commitment(one) for one in secrets} | secrets) == 300
