"""Registration: a coldkey burns TAO, and its hotkey gets a uid."""

from localnet.chain_node.accounts import free_balance_rao, withdraw
from localnet.chain_node.dispatch import Call, Event, Origin, ensure, subtensor_error
from localnet.chain_node.ledger import Ledger
from localnet.chain_node.neurons import adopt_hotkey, free_uid, seat, subnet_exists, uid_of


def burned_register(ledger: Ledger, origin: Origin, call: Call) -> list[Event]:
    """Charges the subnet's burn, which does not move here: it is a hyperparameter, not a market price."""
    netuid, hotkey = call.arguments["netuid"], call.arguments["hotkey"]
    _ensure_open(ledger, netuid)
    ensure(uid_of(ledger, netuid, hotkey) is None, subtensor_error("HotKeyAlreadyRegisteredInSubNet"))
    burn_rao = ledger.get("SubtensorModule.Burn", netuid)
    affordable = free_balance_rao(ledger, origin.signer) >= burn_rao
    ensure(affordable, subtensor_error("NotEnoughBalanceToStake"))
    withdraw(ledger, origin.signer, burn_rao, keep_alive=True)
    ensure(adopt_hotkey(ledger, hotkey, origin.signer), subtensor_error("NonAssociatedColdKey"))
    uid = free_uid(ledger, netuid, origin.block_number)
    if uid is None:
        raise subtensor_error("NoNeuronIdAvailable")
    seat(ledger, netuid, uid, hotkey, origin.block_number)
    registrations = ledger.get("SubtensorModule.RegistrationsThisBlock", netuid)
    ledger.put("SubtensorModule.RegistrationsThisBlock", netuid, registrations + 1)
    return [
        Event("Balances", "Withdraw", {"who": origin.signer, "amount": burn_rao}),
        Event("SubtensorModule", "NeuronRegistered", (netuid, uid, hotkey)),
    ]


def _ensure_open(ledger: Ledger, netuid: int) -> None:
    ensure(subnet_exists(ledger, netuid), subtensor_error("SubnetNotExists"))
    allowed = ledger.get("SubtensorModule.NetworkRegistrationAllowed", netuid)
    ensure(allowed, subtensor_error("SubNetRegistrationDisabled"))
    registrations = ledger.get("SubtensorModule.RegistrationsThisBlock", netuid)
    limit = ledger.get("SubtensorModule.MaxRegistrationsPerBlock", netuid)
    ensure(registrations < limit, subtensor_error("TooManyRegistrationsThisBlock"))
