"""The runtime as the node sees it: the metadata blob and the SDK's own codec over it."""

from dataclasses import dataclass
from functools import cached_property
from hashlib import blake2b
from typing import Any

from bittensor._transport.codec import RuntimeCodec, StorageEntry

from localnet.chain_node.metadata import SPEC_NAME, SPEC_VERSION, TRANSACTION_VERSION, build_metadata

HASH_BYTES = 32


def blake2_256(data: bytes) -> bytes:
    """Substrate's hash of blocks, extrinsics and long signature payloads."""
    return blake2b(data, digest_size=HASH_BYTES).digest()


@dataclass(frozen=True)
class Runtime:
    slot_duration_ms: int

    @cached_property
    def metadata(self) -> bytes:
        return build_metadata(self.slot_duration_ms)

    @cached_property
    def codec(self) -> RuntimeCodec:
        return RuntimeCodec(
            self.metadata,
            spec_version=SPEC_VERSION,
            transaction_version=TRANSACTION_VERSION,
            spec_name=SPEC_NAME,
        )

    @cached_property
    def _entries(self) -> dict[str, StorageEntry]:
        return {}

    def entry(self, item: str) -> StorageEntry:
        """The storage item `Pallet.Name`."""
        if item not in self._entries:
            self._entries[item] = self.codec.storage_entry(*item.split(".", 1))
        return self._entries[item]

    def version_json(self) -> dict[str, Any]:
        """What `state_getRuntimeVersion` answers."""
        return {
            "specName": SPEC_NAME,
            "implName": SPEC_NAME,
            "authoringVersion": 1,
            "specVersion": SPEC_VERSION,
            "implVersion": 1,
            "apis": [],
            "transactionVersion": TRANSACTION_VERSION,
            "stateVersion": 1,
        }
