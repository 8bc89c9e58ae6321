"""What a client is told of its request's place among the published records, with all that proves it."""

from collections.abc import Mapping
from typing import Any

from gateway.epoch_store import PublishedRequest
from shared.anchors import Anchor
from shared.merkle import path_leads_to_root
from shared.record_facts import record_facts
from shared.records import RequestRecord
from shared.request_facts import RequestFacts

CHAIN_WORDS = (
    "the publisher commits to these bytes on chain after the epoch; the next epoch's commitment replaces "
    "them, and its summary names this one by digest"
)


def inclusion(found: PublishedRequest, record: RequestRecord) -> dict[str, Any]:
    """The proof that a published epoch lists this record.

    What is published is made again from this gateway's own log and held against the epoch's leaf: an epoch
    that lists other facts under the same id is told as one that differs, without a proof.
    """
    epoch = found.epoch
    facts = record_facts(record, epoch.number, found.known_prefix_tokens, found.text_published)
    root = bytes.fromhex(epoch.records_root)
    where = {
        "epoch": epoch.number,
        "index": found.index,
        "size": epoch.records,
        "summary": f"epochs/{epoch.number}.json",
        "summary_digest": epoch.digest,
        "publisher": epoch.publisher,
        "root": epoch.records_root,
    }
    if not path_leads_to_root(facts.leaf(), found.index, epoch.records, found.path, root):
        words = (
            f"epoch {epoch.number} lists this request with other facts than this gateway recorded: see row "
            f"{found.index} of its table of requests"
        )
        return {"state": "differs", "words": words} | where
    return {
        "state": "included",
        "words": f"record {found.index} of the {epoch.records} of epoch {epoch.number}",
        **where,
        "path": [sibling.hex() for sibling in found.path],
        "chain": {
            "hotkey": epoch.publisher,
            "commitment": Anchor(epoch.number, epoch.records_root, epoch.digest).encode().hex(),
            "words": CHAIN_WORDS,
        },
        "record": _plain(facts),
    }


def _plain(facts: RequestFacts) -> dict[str, Any]:
    return facts.model_dump(mode="json")


def not_included(audit: Mapping[str, Any]) -> dict[str, Any]:
    """Of a request that no epoch lists yet, the words that say so of its audit."""
    return {"state": audit["state"], "words": audit["words"]}
