"""Flags of `python -m localnet up`."""

from dataclasses import dataclass
from pathlib import Path

from shared.config import at_least, between, is_port, setting

PROJECT_ROOT = Path(__file__).resolve().parent.parent

MOST_OF_EACH = 8
PORT_STRIDE = 100
"""Between the ports of two gateways, or of two auditors."""


@dataclass(frozen=True)
class LocalnetConfig:
    """A whole subnet on one machine."""

    miners: tuple[str, ...] = setting(
        ("honest", "honest", "int4"),
        "what each miner does, comma-separated (python -m localnet roles lists them)",
    )
    epochs: int = setting(
        0, "close this many epochs, then stop; 0 shows one epoch and stays up until Ctrl-C", at_least(0)
    )
    json: bool = setting(False, "one JSON document on standard output, progress on standard error")
    epoch_seconds: float = setting(90.0, "length of an epoch (1500 in production)", at_least(10))
    gateways: int = setting(1, "gateways; clients' requests go to all in turn", between(1, MOST_OF_EACH))
    auditors: int = setting(
        1,
        "audit validators, which divide the audits; with more than one of these or of gateways they share a "
        "PostgreSQL server that is started as well",
        between(1, MOST_OF_EACH),
    )
    requests: int = setting(36, "chat requests sent through the public API in each epoch", at_least(1))
    model: str = setting("", "folder of the model to serve (default: the demo model, built on first use)")
    port: int = setting(8081, "port of the gateway's API; a second gateway's is 100 higher", is_port)
    auditor_port: int = setting(
        8082, "port of the audit validator's status; a second one's is 100 higher", is_port
    )
    miner_port: int = setting(8091, "port of the first miner; the others take the next ones", is_port)
    chain_port: int = setting(9944, "port of the chain node", is_port)
    block_seconds: float = setting(1.0, "time between blocks", at_least(0.1))
    store: str = setting("", "where epochs go: s3://bucket/prefix or a folder (default: the run's)")
    store_endpoint: str | None = setting(None, "URL of the S3-compatible service")
    store_url: str = setting("", "public URL of the store, for the watchtower (default: the store)")
    keep: bool = setting(False, "go on with the last run's chain, records and epochs, rather than anew")
    folder: Path = setting(PROJECT_ROOT / ".localnet", "where models, wallets, logs and state are kept")

    @property
    def chain_url(self) -> str:
        return f"ws://127.0.0.1:{self.chain_port}"

    @property
    def gateway_url(self) -> str:
        return self.gateway_urls[0]

    @property
    def gateway_urls(self) -> list[str]:
        return [f"http://127.0.0.1:{self.port + PORT_STRIDE * i}" for i in range(self.gateways)]

    @property
    def auditor_url(self) -> str:
        return self.auditor_urls[0]

    @property
    def auditor_urls(self) -> list[str]:
        return [f"http://127.0.0.1:{self.auditor_port + PORT_STRIDE * i}" for i in range(self.auditors)]

    @property
    def several(self) -> bool:
        """Whether there is more than one of anything that shares a database."""
        return self.gateways > 1 or self.auditors > 1

    @property
    def run_folder(self) -> Path:
        """State and logs of the current run."""
        return self.folder / "run"

    @property
    def store_location(self) -> str:
        """Where the auditor publishes."""
        return self.store or str(self.run_folder / "store")

    @property
    def wallets(self) -> Path:
        return self.folder / "wallets"

    def ports(self) -> dict[int, str]:
        """Every port that will listen, and whose it is."""
        fixed = {
            self.chain_port: "the chain node",
            self.port: "the gateway",
            self.auditor_port: "the auditor",
        }
        for i in range(1, self.gateways):
            fixed[self.port + PORT_STRIDE * i] = f"gateway {i + 1}"
        for i in range(1, self.auditors):
            fixed[self.auditor_port + PORT_STRIDE * i] = f"auditor {i + 1}"
        return fixed | {self.miner_port + i: f"miner {i + 1}" for i in range(len(self.miners))}
