"""Reads what an audit validator publishes: who signed it, and what it says of this gateway's requests.

Only what answers need is read. Whether scores and weights follow from the evidence is a watchtower's question
(`python validator/watchtower.py`); this gateway believes the publisher that it follows.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass

from gateway.published_summary import EPOCH_DOMAIN, EpochRefused, FoundSummary, Pointer, Summary, parse
from gateway.published_tables import OwnRequest, read_requests, read_verdicts
from gateway.published_verdicts import PublishedVerdict
from shared.canonical import sha256_hex
from shared.dataset import manifest_key
from shared.errors import ObjectMissing, SignatureMismatch
from shared.merkle import HASH_BYTES, MerkleTree
from shared.object_store import ObjectReader
from shared.signing import check_signature

LATEST_KEY = "epochs/latest.json"

MAX_POINTER_BYTES = 4096
MAX_SUMMARY_BYTES = 32 << 20
"""Some 3 kB a miner and epoch of history; 256 miners have one of about 2 MB."""

MAX_MANIFEST_BYTES = 1 << 20

MAX_FILE_BYTES = 256 << 20
"""Of a file that is read as a whole, to compare its digest: what a gateway's memory bears for a moment."""


@dataclass(frozen=True)
class Findings:
    """What an epoch says.

    Attributes:
        leaves: the leaf hashes of its records, 32 bytes each, which lead to the root that was signed.
        own: the requests of one gateway.
        verdicts: of all miners.
        manifest: the manifest as it is published.
    """

    leaves: Sequence[bytes]
    own: Sequence[OwnRequest]
    verdicts: Sequence[PublishedVerdict]
    manifest: bytes


class PublishedEpochs:
    """The epochs of one store. Every method blocks, and raises StoreError when the store can't be read.

    Args:
        netuid: epochs of other subnets are refused.
    """

    def __init__(self, reader: ObjectReader, netuid: int) -> None:
        self._reader, self._netuid = reader, netuid

    def pointer(self) -> Pointer | None:
        """The newest epoch's number and digest; None while nothing is published.

        Raises:
            EpochRefused: it is no pointer.
        """
        try:
            data = self._reader.get(LATEST_KEY, MAX_POINTER_BYTES)
        except ObjectMissing:
            return None
        return parse(Pointer, data, LATEST_KEY)

    def summary(self, number: int, digest: str) -> FoundSummary:
        """The summary of an epoch, which must have this digest.

        Raises:
            EpochRefused: it is missing, another one, not signed by its publisher, or of another subnet.
        """
        key = f"epochs/{number}.json"
        return signed_summary(self._get(key, MAX_SUMMARY_BYTES, digest), number, self._netuid)

    def findings(self, summary: Summary, gateway_hotkey: str) -> Findings:
        """What an epoch says of the requests of the gateway, and of all audits.

        Raises:
            EpochRefused: a file is missing, or not the one that the summary names, or its records are not
                those of the signed root.
        """
        leaves, own = bytearray(), list[OwnRequest]()
        for file in summary.files_of("requests"):
            data = self._get(file.key, MAX_FILE_BYTES, file.sha256)
            columns = read_requests(data, file, gateway_hotkey, len(leaves) // HASH_BYTES)
            leaves += columns.leaves
            own += columns.own
        hashes = [bytes(leaves[at : at + HASH_BYTES]) for at in range(0, len(leaves), HASH_BYTES)]
        if len(hashes) != summary.records or MerkleTree.of_hashes(hashes).root.hex() != summary.records_root:
            raise EpochRefused(f"the records of epoch {summary.epoch} are not those of its root")
        verdicts = [
            verdict
            for file in summary.files_of("verdicts")
            for verdict in read_verdicts(self._get(file.key, MAX_FILE_BYTES, file.sha256), file)
        ]
        manifest = self._get(manifest_key(summary.epoch), MAX_MANIFEST_BYTES, summary.manifest_sha256)
        return Findings(hashes, own, verdicts, manifest)

    def _get(self, key: str, most_bytes: int, digest: str) -> bytes:
        try:
            data = self._reader.get(key, most_bytes)
        except ObjectMissing as error:
            raise EpochRefused(str(error)) from None
        if sha256_hex(data) != digest:
            raise EpochRefused(f"{key} is not the object that was announced or that its summary names")
        return data


def signed_summary(data: bytes, number: int, netuid: int | None) -> FoundSummary:
    """A summary from its bytes.

    Args:
        netuid: of the subnet that it must be of; None: of any.

    Raises:
        EpochRefused: it is another one, not signed by its publisher, or of another subnet.
    """
    key = f"epochs/{number}.json"
    summary = parse(Summary, data, key)
    if summary.epoch != number or netuid not in (None, summary.netuid):
        raise EpochRefused(
            f"{key} holds epoch {summary.epoch} of subnet {summary.netuid}, expected is subnet "
            f"{netuid}: check --store and --netuid"
        )
    try:
        check_signature(EPOCH_DOMAIN, json.loads(data), summary.signature, summary.publisher)
    except (SignatureMismatch, ValueError) as error:
        raise EpochRefused(f"{key} is not signed by {summary.publisher}: {error}") from None
    return FoundSummary(sha256_hex(data), summary)
