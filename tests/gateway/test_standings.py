"""What routing may ask about the miners' audits."""

from gateway.standings import AuditStanding, Standings

ONE = AuditStanding(audits=7, passes=6, rejected=False, epoch=3)


def test_nothing_is_known_of_anybody_before_an_epoch_was_read() -> None:
    assert Standings().of("5Hotkey") is None


def test_a_newer_epoch_replaces_all_that_was_known() -> None:
    standings = Standings()
    standings.replace({"5Old": ONE})
    standings.replace({"5New": ONE})

    assert standings.of("5New") == ONE
    assert standings.of("5Old") is None


def test_what_is_known_does_not_change_with_the_mapping_it_came_from() -> None:
    standings, given = Standings(), {"5Hotkey": ONE}
    standings.replace(given)
    given.clear()

    assert standings.of("5Hotkey") == ONE
