"""Stake of coldkeys on hotkeys. A hotkey's whole stake belongs to its owner: nobody can delegate here."""

from typing import Any

from localnet.chain_node.ledger import LedgerReader

_Record = dict[str, Any]


def stake_of_coldkey(ledger: LedgerReader, coldkey: str) -> list[_Record]:
    """One record for each of the coldkey's hotkeys and each subnet that it has stake on."""
    hotkeys = ledger.get("SubtensorModule.OwnedHotkeys", coldkey)
    return [
        _record(ledger, hotkey, coldkey, netuid, stake_rao)
        for hotkey in hotkeys
        for netuid, stake_rao in ledger.pairs("SubtensorModule.TotalHotkeyAlpha", hotkey)
        if stake_rao
    ]


def stake_of_coldkeys(ledger: LedgerReader, coldkeys: list[str]) -> list[tuple[str, list[_Record]]]:
    return [(coldkey, stake_of_coldkey(ledger, coldkey)) for coldkey in coldkeys]


def stake_of_pair(ledger: LedgerReader, hotkey: str, coldkey: str, netuid: int) -> _Record | None:
    """None where the coldkey has no stake on the hotkey."""
    for record in stake_of_coldkey(ledger, coldkey):
        if (record["hotkey"], record["netuid"]) == (hotkey, netuid):
            return record
    return None


def stake_availability(
    ledger: LedgerReader, coldkeys: list[str], netuids: list[int]
) -> dict[str, dict[int, dict[str, int]]]:
    """Free and locked stake by coldkey and subnet; nothing is ever locked here."""
    totals = {coldkey: dict.fromkeys(netuids, 0) for coldkey in coldkeys}
    for coldkey in coldkeys:
        for record in stake_of_coldkey(ledger, coldkey):
            if record["netuid"] in totals[coldkey]:
                totals[coldkey][record["netuid"]] += record["stake"]
    return {
        coldkey: {n: {"total": rao, "locked": 0, "available": rao} for n, rao in by_netuid.items()}
        for coldkey, by_netuid in totals.items()
    }


def _record(ledger: LedgerReader, hotkey: str, coldkey: str, netuid: int, stake_rao: int) -> _Record:
    return {
        "hotkey": hotkey,
        "coldkey": coldkey,
        "netuid": netuid,
        "stake": stake_rao,
        "locked": 0,
        "emission": 0,
        "drain": 0,
        "is_registered": ledger.get("SubtensorModule.Uids", netuid, hotkey) is not None,
    }
