"""The epoch schedule of every subnet: it ticks, so that reveal rounds come out right, and pays nobody."""

from localnet.chain_node.calls.weight_commits import COMMITS_KEPT_EPOCHS
from localnet.chain_node.ledger import Ledger, LedgerReader


def next_epoch_block(ledger: LedgerReader, netuid: int) -> int | None:
    """The block in which the subnet's next epoch begins, or None where its tempo is 0."""
    tempo: int = ledger.get("SubtensorModule.Tempo", netuid)
    last_epoch_block: int = ledger.get("SubtensorModule.LastEpochBlock", netuid)
    return last_epoch_block + tempo if tempo else None


def tick(ledger: Ledger, block_number: int) -> None:
    """Moves every subnet on by one block."""
    for netuid, added in ledger.pairs("SubtensorModule.NetworksAdded"):
        if added:
            _tick_subnet(ledger, netuid, block_number)


def _tick_subnet(ledger: Ledger, netuid: int, block_number: int) -> None:
    ledger.remove("SubtensorModule.RegistrationsThisBlock", netuid)
    due = next_epoch_block(ledger, netuid)
    if due is not None and block_number >= due:
        _begin_epoch(ledger, netuid, block_number)
    else:
        since = ledger.get("SubtensorModule.BlocksSinceLastStep", netuid)
        ledger.put("SubtensorModule.BlocksSinceLastStep", netuid, since + 1)


def _begin_epoch(ledger: Ledger, netuid: int, block_number: int) -> None:
    epoch = ledger.get("SubtensorModule.SubnetEpochIndex", netuid) + 1
    ledger.put("SubtensorModule.SubnetEpochIndex", netuid, epoch)
    ledger.put("SubtensorModule.LastEpochBlock", netuid, block_number)
    ledger.put("SubtensorModule.LastMechansimStepBlock", netuid, block_number)
    ledger.put("SubtensorModule.BlocksSinceLastStep", netuid, 0)
    expired = epoch - COMMITS_KEPT_EPOCHS
    if expired >= 0:
        ledger.remove("SubtensorModule.TimelockedWeightCommits", netuid, expired)
