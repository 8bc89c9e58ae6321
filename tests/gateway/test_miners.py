import pytest

from gateway.miners import NOT_PROBED, MinerListing, MinerTable, endpoint_of
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
    old.begin(1000.0)
    old.failed(1000.0)
    miners.update([MinerListing(1, BOB, PUBLIC)])
    assert not miners.get(1).callable
    assert miners.get(1).load(1000.0).failures_in_a_row == 0
    old.end()
    assert miners.get(1).in_flight == 0, "the old miner's request ends at the old miner"


def test_a_new_address_is_not_called_before_its_health_was_asked_but_history_stays() -> None:
    miners = table(MinerListing(1, ALICE, PUBLIC))
    miners.get(1).why_not_callable = ""
    miners.get(1).failed(1000.0)
    miners.update([MinerListing(1, ALICE, "9.9.9.9:8091")])
    assert not miners.get(1).callable
    assert miners.get(1).endpoint.url == "http://9.9.9.9:8091"
    assert miners.get(1).load(1000.0).failures_in_a_row == 1


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
    miner.failed(1.0)
    miner.failed(2.0)
    assert miner.load(3.0).failures_in_a_row == 2
    miner.succeeded()
    assert miner.load(3.0).failures_in_a_row == 0


def test_recent_requests_fade() -> None:
    miner = table(MinerListing(1, ALICE, PUBLIC)).get(1)
    miner.begin(0.0)
    miner.begin(0.0)
    assert miner.load(0.0).recent_requests == 2.0
    assert miner.load(600.0).recent_requests == 1.0
