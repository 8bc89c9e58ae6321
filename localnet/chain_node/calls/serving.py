"""Serving: a registered hotkey publishes where it listens.

Unlike the main network, loopback addresses are accepted: a whole subnet on one machine listens there.
"""

from localnet.chain_node.dispatch import Call, Event, Origin, ensure, subtensor_error
from localnet.chain_node.ledger import Ledger
from localnet.chain_node.neurons import subnet_exists, uid_of

_IPV4_MAX = (1 << 32) - 1
_AXON_FIELDS = ("version", "ip", "port", "ip_type", "protocol", "placeholder1", "placeholder2")
_PROMETHEUS_FIELDS = ("version", "ip", "port", "ip_type")


def serve_axon(ledger: Ledger, origin: Origin, call: Call) -> list[Event]:
    """Address 0 is accepted: it is how a hotkey stops serving."""
    _publish(ledger, origin, call, "SubtensorModule.Axons", _AXON_FIELDS)
    return [Event("SubtensorModule", "AxonServed", (call.arguments["netuid"], origin.signer))]


def serve_prometheus(ledger: Ledger, origin: Origin, call: Call) -> list[Event]:
    ensure(call.arguments["ip"] != 0, subtensor_error("InvalidIpAddress"))
    _publish(ledger, origin, call, "SubtensorModule.Prometheus", _PROMETHEUS_FIELDS)
    return [Event("SubtensorModule", "PrometheusServed", (call.arguments["netuid"], origin.signer))]


def _publish(ledger: Ledger, origin: Origin, call: Call, item: str, fields: tuple[str, ...]) -> None:
    netuid = call.arguments["netuid"]
    ensure(subnet_exists(ledger, netuid), subtensor_error("SubnetNotExists"))
    registered = uid_of(ledger, netuid, origin.signer) is not None
    ensure(registered, subtensor_error("HotKeyNotRegisteredInNetwork"))
    _ensure_valid_address(call)
    _ensure_rate(ledger, origin, netuid, item)
    ensure(call.arguments["port"] != 0, subtensor_error("InvalidPort"))
    record = {"block": origin.block_number} | {name: call.arguments[name] for name in fields}
    ledger.put(item, netuid, origin.signer, record)


def _ensure_valid_address(call: Call) -> None:
    ip_type, ip = call.arguments["ip_type"], call.arguments["ip"]
    ensure(ip_type in (4, 6), subtensor_error("InvalidIpType"))
    ensure(ip_type == 6 or ip < _IPV4_MAX, subtensor_error("InvalidIpAddress"))


def _ensure_rate(ledger: Ledger, origin: Origin, netuid: int, item: str) -> None:
    previous = ledger.get(item, netuid, origin.signer)
    limit_blocks = ledger.get("SubtensorModule.ServingRateLimit", netuid)
    fast = previous is not None and origin.block_number - previous["block"] < limit_blocks
    ensure(not fast, subtensor_error("ServingRateLimitExceeded"))
