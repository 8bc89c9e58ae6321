from bittensor.sp_core import Keypair
from hypothesis import given, settings
from hypothesis import strategies as st

from localnet.chain_node.accounts import deposit, free_balance_rao, nonce, use_nonce, withdraw
from localnet.chain_node.calls.balances import transfer_all, transfer_allow_death, transfer_keep_alive
from localnet.chain_node.dispatch import Call, DispatchError, Origin
from localnet.chain_node.ledger import Ledger
from localnet.chain_node.pallet_tables import EXISTENTIAL_DEPOSIT_RAO
from localnet.chain_node.runtime import Runtime
from localnet.chain_node.state import CommittedState, Overlay

RUNTIME = Runtime(slot_duration_ms=1_000)
ACCOUNTS = [Keypair.create_from_uri(f"//{n}").ss58_address for n in range(4)]
AMOUNTS = st.integers(0, 3 * EXISTENTIAL_DEPOSIT_RAO)
WHO = st.sampled_from(ACCOUNTS)


def empty_ledger() -> Ledger:
    return Ledger(RUNTIME, Overlay(CommittedState({})))


def balances(ledger: Ledger) -> list[int]:
    return [free_balance_rao(ledger, account) for account in ACCOUNTS]


def attempt(ledger: Ledger, act: object, *arguments: object, **options: object) -> bool:
    """Runs an act on a layer that is dropped if it fails, as an extrinsic's is."""
    layer = ledger.nested()
    try:
        act(layer, *arguments, **options)  # type: ignore[operator]
    except DispatchError:
        return False
    ledger.absorb(layer)
    return True


def assert_sound(ledger: Ledger) -> None:
    """The issuance is what all accounts hold, and no account holds dust."""
    held = balances(ledger)
    assert ledger.get("Balances.TotalIssuance") == sum(held)
    assert all(rao == 0 or rao >= EXISTENTIAL_DEPOSIT_RAO for rao in held)


@settings(max_examples=50, deadline=None)
@given(st.lists(st.tuples(WHO, AMOUNTS, st.sampled_from(["deposit", "keep", "take"]))))
def test_deposits_and_withdrawals_leave_the_books_in_order(steps: list[tuple[str, int, str]]) -> None:
    ledger = empty_ledger()
    for account, amount_rao, kind in steps:
        if kind == "deposit":
            attempt(ledger, deposit, account, amount_rao)
        else:
            attempt(ledger, withdraw, account, amount_rao, keep_alive=kind == "keep")
        assert_sound(ledger)


@settings(max_examples=50, deadline=None)
@given(st.lists(st.tuples(WHO, WHO, AMOUNTS, st.booleans())))
def test_transfers_neither_make_tao_nor_lose_more_than_dust(
    steps: list[tuple[str, str, int, bool]],
) -> None:
    ledger = empty_ledger()
    for account in ACCOUNTS:
        deposit(ledger, account, 5 * EXISTENTIAL_DEPOSIT_RAO)
    for source, destination, amount_rao, keep_alive in steps:
        before = sum(balances(ledger))
        transfer = transfer_keep_alive if keep_alive else transfer_allow_death
        call = Call("Balances.transfer", {"dest": destination, "value": amount_rao}, b"")
        attempt(ledger, transfer, Origin(source, 1), call)
        lost = before - sum(balances(ledger))
        assert 0 <= lost < EXISTENTIAL_DEPOSIT_RAO
        assert lost == 0 or not keep_alive
        assert_sound(ledger)


def test_a_whole_balance_moves_with_or_without_the_deposit() -> None:
    for keep_alive, left in ((True, EXISTENTIAL_DEPOSIT_RAO), (False, 0)):
        ledger = empty_ledger()
        deposit(ledger, ACCOUNTS[0], 10_000)
        call = Call("Balances.transfer_all", {"dest": ACCOUNTS[1], "keep_alive": keep_alive}, b"")
        assert attempt(ledger, transfer_all, Origin(ACCOUNTS[0], 1), call)
        assert balances(ledger)[:2] == [left, 10_000 - left]


def test_a_destination_that_is_no_account_id_cannot_be_looked_up() -> None:
    ledger = empty_ledger()
    deposit(ledger, ACCOUNTS[0], 10_000)
    call = Call("Balances.transfer_allow_death", {"dest": {"Index": 5}, "value": 1_000}, b"")
    assert not attempt(ledger, transfer_allow_death, Origin(ACCOUNTS[0], 1), call)
    assert balances(ledger)[0] == 10_000


def test_a_nonce_counts_up_and_survives_the_loss_of_every_rao() -> None:
    ledger = empty_ledger()
    deposit(ledger, ACCOUNTS[0], 1_000)
    for expected in range(3):
        assert nonce(ledger, ACCOUNTS[0]) == expected
        use_nonce(ledger, ACCOUNTS[0])
    withdraw(ledger, ACCOUNTS[0], 1_000, keep_alive=False)
    assert nonce(ledger, ACCOUNTS[0]) == 3
    assert nonce(ledger, ACCOUNTS[1]) == 0
