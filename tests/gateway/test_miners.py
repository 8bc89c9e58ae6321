import pytest

from gateway.miners import NOT_PROBED, MinerListing, MinerTable, endpoint_of
from gateway.pace import UNMEASURED, Measured
from gateway.standings import AuditStanding, Standings
from tests.gateway.running_gateway import FakeClock, keypair

ALICE, BOB = keypair("Alice").ss58_address, keypair("Bob").ss58_address
PUBLIC = "8.8.8.8:8091"


def table(*listings: MinerListing, allow_local: bool = False) -> MinerTable:
    miners = MinerTable(FakeClock(), allow_local)
    miners.update(listings)
    return miners


@pytest.mark.parametrize(
    "axon",
    [
        "127.0.0.1:80",
        "10.0.0.1:80",
        "192.168.1.1:80",
        "172.16.0.1:80",
        "169.254.169.254:80",
        "0.0.0.0:80",
        "100.64.0.1:80",
        "224.0.0.1:80",
        "255.255.255.255:80",
        "[::1]:80",
        "[::ffff:127.0.0.1]:80",
        "[::ffff:169.254.169.254]:80",
        "[fe80::1]:80",
        "[fd00::1]:80",
    ],
)
def test_addresses_inside_are_never_called(axon: str) -> None:
    endpoint = endpoint_of(axon, allow_local=False)
    assert endpoint.url is None
    assert "public" in str(endpoint.refusal)


@pytest.mark.parametrize(
    "axon",
    ["", "x", "8.8.8.8", "8.8.8.8:0", "8.8.8.8:99999", "evil.example:80", "8.8.8.8:80/x", "8.8.8.8@h:1"],
)
def test_nonsense_is_no_address(axon: str) -> None:
    assert endpoint_of(axon, allow_local=True).url is None


def test_loopback_is_called_on_the_local_network_only() -> None:
    assert endpoint_of("127.0.0.1:80", allow_local=True).url == "http://127.0.0.1:80"
    assert endpoint_of("10.0.0.1:80", allow_local=True).url is None
    assert endpoint_of("169.254.169.254:80", allow_local=True).url is None


def test_public_addresses_are_called() -> None:
    assert endpoint_of(PUBLIC, allow_local=False).url == "http://8.8.8.8:8091"
    assert endpoint_of("[2606:4700::1]:80", allow_local=False).url == "http://[2606:4700::1]:80"


def test_a_miner_is_callable_only_after_its_health_was_asked() -> None:
    miners = table(MinerListing(1, ALICE, PUBLIC), MinerListing(2, BOB, None))
    assert miners.loads(without=()) == []
    assert miners.get(1).why_not_callable == NOT_PROBED
    assert "no address" in miners.get(2).why_not_callable
    miners.get(1).why_not_callable = ""
    assert [load.uid for load in miners.loads(without=())] == [1]
    assert miners.loads(without={ALICE}) == []


def test_a_new_hotkey_on_an_old_uid_starts_from_nothing() -> None:
    miners = table(MinerListing(1, ALICE, PUBLIC))
    old = miners.get(1)
    old.why_not_callable = ""
    old.failed(old.begin(1000.0), 1000.0)
    miners.update([MinerListing(1, BOB, PUBLIC)])
    assert not miners.get(1).callable
    assert miners.breaker_states() == {1: "closed"}
    old.end()
    assert miners.get(1).in_flight == 0, "the old miner's request ends at the old miner"


def test_a_new_address_is_not_called_before_its_health_was_asked_but_history_stays() -> None:
    miners = table(MinerListing(1, ALICE, PUBLIC))
    miners.get(1).why_not_callable = ""
    miners.get(1).failed(miners.get(1).begin(1000.0), 1000.0)
    miners.update([MinerListing(1, ALICE, "9.9.9.9:8091")])
    assert not miners.get(1).callable
    assert miners.get(1).endpoint.url == "http://9.9.9.9:8091"
    assert miners.breaker_states() == {1: "open"}


def test_an_unchanged_listing_stays_callable() -> None:
    miners = table(MinerListing(1, ALICE, PUBLIC))
    miners.get(1).why_not_callable = ""
    miners.update([MinerListing(1, ALICE, PUBLIC)])
    assert miners.get(1).callable


def test_a_miner_that_left_the_metagraph_is_gone() -> None:
    miners = table(MinerListing(1, ALICE, PUBLIC), MinerListing(2, BOB, PUBLIC))
    miners.update([MinerListing(2, BOB, PUBLIC)])
    assert [miner.uid for miner in miners.all()] == [2]


def test_success_ends_a_row_of_failures() -> None:
    miner = table(MinerListing(1, ALICE, PUBLIC)).get(1)
    for now_s in (1.0, 5.0):
        miner.failed(miner.begin(now_s), now_s)
    assert miner.breaker.failures_in_a_row == 2
    miner.succeeded(miner.begin(60.0), 60.0)
    assert miner.breaker.failures_in_a_row == 0


def test_recent_requests_fade_and_those_that_were_steered_do_not_count() -> None:
    miner = table(MinerListing(1, ALICE, PUBLIC)).get(1)
    miner.begin(0.0)
    miner.begin(0.0)
    miner.begin(0.0, free=False)
    assert miner.load(0.0).recent_requests == 2.0
    assert miner.load(600.0).recent_requests == 1.0
    assert miner.attempts.at(0.0) == 3.0


def test_the_success_rate_counts_an_outage_once() -> None:
    miner = table(MinerListing(1, ALICE, PUBLIC)).get(1)
    for _ in range(6):
        miner.succeeded(miner.begin(0.0), 0.0)
    assert miner.success_rate(0.0) == 1.0
    for entered in [miner.begin(0.0) for _ in range(20)]:
        miner.failed(entered, 0.0)
    for now_s in (2.0, 6.0, 14.0):
        miner.failed(miner.begin(now_s), now_s)
    assert miner.success_rate(0.0) == 8 / 9


def test_a_miner_that_fails_every_second_request_has_half_the_success() -> None:
    miner = table(MinerListing(1, ALICE, PUBLIC)).get(1)
    for _ in range(100):
        miner.failed(miner.begin(0.0), -10.0)
        miner.succeeded(miner.begin(0.0), 0.0)
    assert abs(miner.success_rate(0.0) - 0.5) < 0.01


def test_audits_weigh_as_they_do_in_scores_and_a_miner_without_any_is_new_not_bad() -> None:
    standings = Standings()
    miners = MinerTable(FakeClock(), False, standings)
    miners.update([MinerListing(1, ALICE, PUBLIC), MinerListing(2, BOB, PUBLIC)])
    for uid in (1, 2):
        miners.get(uid).why_not_callable = ""
    standings.replace({ALICE: AuditStanding(audits=8, passes=3, rejected=True, epoch=4)})
    alice, bob = miners.loads(without=())
    assert (alice.pass_rate, alice.rejected) == (5 / 10, True)
    assert (bob.pass_rate, bob.rejected) == (1.0, False)


def test_what_is_measured_of_one_miner_makes_what_is_typical() -> None:
    miners = table(MinerListing(1, ALICE, PUBLIC), MinerListing(2, BOB, PUBLIC))
    answer = Measured(band=4, first_s=0.5, rest_s=2.0, tokens=101, alongside=0, streamed=True)
    miners.measured(miners.get(1), answer)
    assert miners.typical(4).time_s(UNMEASURED, 100) == pytest.approx(2.5)
    assert miners.get(1).load(0.0, band=4).pace == miners.typical(4)
    assert miners.get(1).load(0.0, band=5).pace == UNMEASURED
    assert miners.get(2).load(0.0, band=4).pace == UNMEASURED
