"""Names in records: the same all day, and nothing that leads back."""

import stat
from pathlib import Path

import pytest

from gateway.pseudonyms import KEY_BYTES, Pseudonyms
from shared.errors import ConfigError
from tests.gateway.running_gateway import FakeClock

DAY_S = 86_400


def named(folder: Path, clock: FakeClock) -> Pseudonyms:
    names = Pseudonyms(folder / "clients.key", clock)
    names.renew()
    return names


def test_a_client_keeps_its_name_all_day_and_over_a_restart(tmp_path: Path) -> None:
    clock = FakeClock()
    first = named(tmp_path, clock)
    name = first.name("key|a")
    assert name != first.name("key|b")
    clock.advance(3600)
    first.renew()
    assert first.name("key|a") == named(tmp_path, clock).name("key|a") == name


def test_the_next_day_has_other_names_and_the_old_key_is_gone(tmp_path: Path) -> None:
    clock = FakeClock()
    names = named(tmp_path, clock)
    before, key = names.name("key|a"), (tmp_path / "clients.key").read_text()
    clock.advance(DAY_S)
    assert names.name("key|a") == before, "until it is told to look"
    names.renew()
    assert names.name("key|a") != before
    assert key.split()[1] not in "".join(file.read_text() for file in tmp_path.iterdir())


def test_a_key_of_another_day_is_not_taken_up_at_the_start(tmp_path: Path) -> None:
    clock = FakeClock()
    before = named(tmp_path, clock).name("key|a")
    clock.advance(DAY_S)
    assert named(tmp_path, clock).name("key|a") != before


def test_two_gateways_have_different_names_for_one_client(tmp_path: Path) -> None:
    clock = FakeClock()
    assert named(tmp_path / "a", clock).name("key|x") != named(tmp_path / "b", clock).name("key|x")


def test_the_key_is_its_owners_alone(tmp_path: Path) -> None:
    named(tmp_path, FakeClock())
    assert stat.S_IMODE((tmp_path / "clients.key").stat().st_mode) == 0o600


@pytest.mark.parametrize("content", ["", "20000", "20000 abc", "x " + "00" * KEY_BYTES, "20000 " + "00" * 5])
def test_a_damaged_key_is_told_with_its_cure(tmp_path: Path, content: str) -> None:
    (tmp_path / "clients.key").write_text(content)
    with pytest.raises(ConfigError, match="delete it"):
        named(tmp_path, FakeClock())


def test_numbers_stay_below_their_bound_and_spread(tmp_path: Path) -> None:
    names = named(tmp_path, FakeClock())
    numbers = [names.number(f"conversation {count}", 8) for count in range(1000)]
    assert set(numbers) == set(range(8))
    assert numbers == [names.number(f"conversation {count}", 8) for count in range(1000)]


def test_workers_of_one_gateway_agree_on_each_days_names(tmp_path: Path) -> None:
    clock = FakeClock()
    first, second = named(tmp_path, clock), named(tmp_path, clock)
    before = first.name("key|a")
    assert second.name("key|a") == before
    clock.advance(DAY_S)
    first.renew()
    second.renew()
    assert first.name("key|a") == second.name("key|a") != before
