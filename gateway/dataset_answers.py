"""What is told of the dataset, of epochs, scores and miners, in JSON. Nothing here reads anything."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from gateway.dataset_store import Known, Page
from shared.dataset import manifest_key

FILES_PATH = "/v1/dataset/files"

STORED = (
    "requests that do not say `store` are published with their text and token ids; send store: false to keep "
    "them out"
)
NOT_STORED = "requests are published with their text and token ids only where they say store: true"
EVERY = "digests, counts, times and a pseudonym of the client are published of every request"


def text_policy(store_by_default: bool) -> dict[str, Any]:
    """What becomes of a request's text."""
    words = STORED if store_by_default else NOT_STORED
    return {"store_by_default": store_by_default, "words": f"{words}; {EVERY}"}


def index(
    known: Known,
    epoch: Mapping[str, Any],
    manifest: Mapping[str, Any],
    place: str,
    store_by_default: bool,
    trouble: str | None,
) -> dict[str, Any]:
    """GET /v1/dataset/.

    Args:
        place: below which the store's keys are found: a path of this gateway, or the bucket's own URL.
    """
    return {
        "object": "dataset",
        "publisher": epoch["publisher"],
        "netuid": epoch["netuid"],
        "model": epoch["model"],
        "newest_epoch": summary_of(epoch),
        "oldest_epoch_read": known.oldest,
        "code_revision": manifest.get("code_revision"),
        "tables": _tables(manifest, place),
        "layout": {
            "pointer": "epochs/latest.json",
            "summary": "epochs/<n>.json",
            "manifest": "epochs/<n>/manifest.json",
            "table": "dataset/<table>/date=<day>/epoch=<n>/part-0.parquet",
        },
        "how_to_read": {
            "files": f"{place}/<key>",
            "pandas": "pandas.read_parquet(url of a table's file)",
            "duckdb": "SELECT * FROM read_parquet('url of a table''s file')",
            "replay": "python validator/replay.py --from <URL of files>",
            "page": "docs/DATASET.md",
        },
        "text": text_policy(store_by_default),
        "links": {
            "epochs": "/v1/dataset/epochs",
            "latest": "/v1/dataset/latest",
            "files": FILES_PATH,
            "scoreboard": "/v1/scoreboard",
            "miner": "/v1/miners/<hotkey>",
            "receipt": "/v1/receipts/<request id>",
        },
    } | ({"trouble": trouble} if trouble else {})


def _tables(manifest: Mapping[str, Any], place: str) -> list[dict[str, Any]]:
    files: Iterable[Mapping[str, Any]] = manifest.get("files", ())
    return [
        {
            "table": file["table"],
            "schema_version": file["schema_version"],
            "rows": file["rows"],
            "size_bytes": file["size_bytes"],
            "newest_file": f"{place}/{file['key']}",
            "columns": file["columns"],
        }
        for file in files
    ]


def summary_of(epoch: Mapping[str, Any]) -> dict[str, Any]:
    """What is told of one epoch."""
    number = epoch["number"]
    told = {name: value for name, value in epoch.items() if name not in ("files", "manifest_sha256")}
    return told | {"summary": f"epochs/{number}.json", "link": f"/v1/epochs/{number}"}


def epoch_files(epoch: Mapping[str, Any], place: str) -> dict[str, Any]:
    """The objects of one epoch."""
    number = epoch["number"]
    return {
        "number": number,
        "closed_at_ms": epoch["closed_at_ms"],
        "summary": {"key": f"epochs/{number}.json", "sha256": epoch["summary_digest"]},
        "manifest": {"key": manifest_key(number), "sha256": epoch["manifest_sha256"]},
        "files": [{**file, "url": f"{place}/{file['key']}"} for file in epoch["files"]],
    }


def listing(rows: Sequence[Any], page: Page, path: str, limit: int) -> dict[str, Any]:
    """A page of a list; `next` is where it goes on, null at its end."""
    following = None if page.before is None else f"{path}?before={page.before}&limit={limit}"
    return {"object": "list", "data": list(rows), "next": following}


def scoreboard(epoch: Mapping[str, Any], scores: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """GET /v1/scoreboard."""
    return {
        "object": "scoreboard",
        "epoch": summary_of(epoch),
        "scores": [{**score, "link": f"/v1/miners/{score['hotkey']}"} for score in scores],
    }


def miner(hotkey: str, page: Page, limit: int) -> dict[str, Any]:
    """GET /v1/miners/<hotkey>: audits that are not among those told are in the table of verdicts."""
    history = []
    for row in page.rows:
        counted = row["audits_by_outcome"]
        score = {name: value for name, value in row.items() if name not in ("hotkey", "audits")}
        left_out = sum(counted.values()) - len(row["audits"])
        history.append(score | {"audits": row["audits"], "audits_left_out": left_out})
    listed = listing(history, page, f"/v1/miners/{hotkey}", limit)
    return {"object": "miner", "hotkey": hotkey, "data": listed["data"], "next": listed["next"]}
