"""Balances: moving TAO between accounts."""

from localnet.chain_node.accounts import deposit, free_balance_rao, withdraw
from localnet.chain_node.dispatch import Call, Event, LookupFailedError, Origin
from localnet.chain_node.ledger import Ledger
from localnet.chain_node.pallet_tables import EXISTENTIAL_DEPOSIT_RAO


def transfer_keep_alive(ledger: Ledger, origin: Origin, call: Call) -> list[Event]:
    return _transfer(ledger, origin, call.arguments["dest"], call.arguments["value"], keep_alive=True)


def transfer_allow_death(ledger: Ledger, origin: Origin, call: Call) -> list[Event]:
    return _transfer(ledger, origin, call.arguments["dest"], call.arguments["value"], keep_alive=False)


def transfer_all(ledger: Ledger, origin: Origin, call: Call) -> list[Event]:
    keep_alive = bool(call.arguments["keep_alive"])
    kept_rao = EXISTENTIAL_DEPOSIT_RAO if keep_alive else 0
    amount_rao = max(free_balance_rao(ledger, origin.signer) - kept_rao, 0)
    return _transfer(ledger, origin, call.arguments["dest"], amount_rao, keep_alive=keep_alive)


def _transfer(
    ledger: Ledger, origin: Origin, dest: object, amount_rao: int, *, keep_alive: bool
) -> list[Event]:
    account = dest.get("Id") if isinstance(dest, dict) else dest
    if not isinstance(account, str):
        raise LookupFailedError("the destination is not given as an account id")
    withdraw(ledger, origin.signer, amount_rao, keep_alive=keep_alive)
    deposit(ledger, account, amount_rao)
    return [Event("Balances", "Transfer", {"from": origin.signer, "to": account, "amount": amount_rao})]
