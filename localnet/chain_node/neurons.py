"""A subnet's neurons: looking them up, and giving a hotkey a uid."""

from localnet.chain_node.ledger import Ledger, LedgerReader

_PER_UID_LISTS = {"ValidatorPermit": False, "LastUpdate": 0, "Active": True}


def subnet_exists(ledger: LedgerReader, netuid: int) -> bool:
    return bool(ledger.get("SubtensorModule.NetworksAdded", netuid))


def uid_of(ledger: LedgerReader, netuid: int, hotkey: str) -> int | None:
    """The hotkey's uid, or None where it is not registered."""
    uid: int | None = ledger.get("SubtensorModule.Uids", netuid, hotkey)
    return uid


def neuron_count(ledger: LedgerReader, netuid: int) -> int:
    return int(ledger.get("SubtensorModule.SubnetworkN", netuid))


def set_entry(ledger: Ledger, item: str, netuid: int, uid: int, value: int | bool) -> None:
    """Replaces one uid's entry of a list that has one for every uid."""
    values = list(ledger.get(f"SubtensorModule.{item}", netuid))
    values[uid] = value
    ledger.put(f"SubtensorModule.{item}", netuid, values)


def free_uid(ledger: LedgerReader, netuid: int, block_number: int) -> int | None:
    """The uid that the next newcomer gets, or None where the subnet is full and everyone is immune.

    In a full subnet it is that of the neuron registered longest ago: nobody earns emissions here, and the
    main network breaks ties of emission by age, then by uid. Holders of a permit are spared.
    """
    count = neuron_count(ledger, netuid)
    if count < ledger.get("SubtensorModule.MaxAllowedUids", netuid):
        return count
    immunity_blocks = ledger.get("SubtensorModule.ImmunityPeriod", netuid)
    permits = ledger.get("SubtensorModule.ValidatorPermit", netuid)
    ages = [
        (registered_at, uid)
        for uid, registered_at in ledger.pairs("SubtensorModule.BlockAtRegistration", netuid)
        if block_number - registered_at >= immunity_blocks and not permits[uid]
    ]
    return min(ages)[1] if ages else None


def seat(ledger: Ledger, netuid: int, uid: int, hotkey: str, block_number: int) -> None:
    """Gives `uid` to a hotkey, which takes nothing over from whoever held it before.

    Its last update is 0, so that it may set weights at once; the main network makes newcomers wait.
    """
    if uid == neuron_count(ledger, netuid):
        _append(ledger, netuid)
    else:
        _evict(ledger, netuid, uid)
    ledger.put("SubtensorModule.Uids", netuid, hotkey, uid)
    ledger.put("SubtensorModule.Keys", netuid, uid, hotkey)
    ledger.put("SubtensorModule.IsNetworkMember", hotkey, netuid, True)
    ledger.put("SubtensorModule.BlockAtRegistration", netuid, uid, block_number)


def _append(ledger: Ledger, netuid: int) -> None:
    ledger.put("SubtensorModule.SubnetworkN", netuid, neuron_count(ledger, netuid) + 1)
    for item, initial in _PER_UID_LISTS.items():
        values = ledger.get(f"SubtensorModule.{item}", netuid)
        ledger.put(f"SubtensorModule.{item}", netuid, [*values, initial])


def _evict(ledger: Ledger, netuid: int, uid: int) -> None:
    hotkey = ledger.get("SubtensorModule.Keys", netuid, uid)
    for item in ("Uids", "Axons", "Prometheus"):
        ledger.remove(f"SubtensorModule.{item}", netuid, hotkey)
    ledger.remove("SubtensorModule.IsNetworkMember", hotkey, netuid)
    ledger.remove("SubtensorModule.Weights", netuid, uid)
    for item, initial in _PER_UID_LISTS.items():
        set_entry(ledger, item, netuid, uid, initial)


def adopt_hotkey(ledger: Ledger, hotkey: str, coldkey: str) -> bool:
    """Makes the coldkey the hotkey's owner, unless somebody else is; says whether it is the owner now."""
    owner = ledger.get("SubtensorModule.Owner", hotkey)
    if owner is not None:
        return bool(owner == coldkey)
    ledger.put("SubtensorModule.Owner", hotkey, coldkey)
    for item in ("OwnedHotkeys", "StakingHotkeys"):
        hotkeys = ledger.get(f"SubtensorModule.{item}", coldkey)
        ledger.put(f"SubtensorModule.{item}", coldkey, [*hotkeys, hotkey])
    return True
