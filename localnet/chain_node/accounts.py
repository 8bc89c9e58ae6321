"""Free balances and nonces of accounts."""

from typing import Any

from localnet.chain_node.dispatch import TokenError, ensure
from localnet.chain_node.ledger import Ledger, LedgerReader
from localnet.chain_node.pallet_tables import EXISTENTIAL_DEPOSIT_RAO

MAX_BALANCE_RAO = 21_000_000 * 10**9
"""All TAO there will ever be."""


def free_balance_rao(ledger: LedgerReader, account: str) -> int:
    return int(_account(ledger, account)["data"]["free"])


def nonce(ledger: LedgerReader, account: str) -> int:
    """The nonce that the account's next transaction must carry."""
    return int(_account(ledger, account)["nonce"])


def use_nonce(ledger: Ledger, account: str) -> None:
    record = _account(ledger, account)
    ledger.put("System.Account", account, {**record, "nonce": record["nonce"] + 1})


def deposit(ledger: Ledger, account: str, amount_rao: int) -> None:
    """Adds to an account, creating it where needed.

    Raises:
        TokenError: BelowMinimum, the account would hold less than the existential deposit.
    """
    balance = free_balance_rao(ledger, account) + amount_rao
    ensure(balance >= EXISTENTIAL_DEPOSIT_RAO, TokenError("BelowMinimum"))
    _set_balance(ledger, account, balance)


def withdraw(ledger: Ledger, account: str, amount_rao: int, *, keep_alive: bool) -> None:
    """Takes from an account.

    Raises:
        TokenError: FundsUnavailable, or NotExpendable where `keep_alive` and less than the existential
            deposit would be left.
    """
    left = free_balance_rao(ledger, account) - amount_rao
    ensure(left >= 0, TokenError("FundsUnavailable"))
    ensure(not keep_alive or left >= EXISTENTIAL_DEPOSIT_RAO, TokenError("NotExpendable"))
    _set_balance(ledger, account, left if left >= EXISTENTIAL_DEPOSIT_RAO else 0)


def _account(ledger: LedgerReader, account: str) -> dict[str, Any]:
    record: dict[str, Any] = ledger.get("System.Account", account)
    return record


def _set_balance(ledger: Ledger, account: str, balance_rao: int) -> None:
    record = _account(ledger, account)
    change = balance_rao - record["data"]["free"]
    issuance = ledger.get("Balances.TotalIssuance")
    ledger.put("Balances.TotalIssuance", issuance + change)
    data = {**record["data"], "free": balance_rao}
    ledger.put("System.Account", account, {**record, "providers": int(balance_rao > 0), "data": data})
