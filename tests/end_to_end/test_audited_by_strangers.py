"""Anyone can audit the scoring: a whole subnet publishes into a bucket, and a stranger replays it from there.

The store dies and comes back first, so that there is an outage in what is replayed.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from localnet.subnet import SHIPPED_CALIBRATION
from localnet.wallets import HOTKEY_NAME, VALIDATOR
from shared.object_store import FolderStore
from shared.wallets import load_wallet
from tests.end_to_end.public_bucket import PublicBucket
from tests.end_to_end.running_localnet import RunningLocalnet, wait_for
from tests.end_to_end.strangers import failing, replay
from tests.validator.resealed_epochs import Resealed
from validator.epoch_summary import LATEST_KEY, summary_key

pytestmark = pytest.mark.end_to_end


def newest_epoch(bucket: PublicBucket) -> int:
    return int(httpx.get(f"{bucket.url}/{LATEST_KEY}").json()["epoch"])


def auditor_health(localnet: RunningLocalnet) -> dict[str, Any]:
    health: dict[str, Any] = httpx.get(f"{localnet.config.auditor_url}/health").json()
    return health


def test_a_store_that_dies_in_an_epoch_and_comes_back_lacks_nothing_and_has_nothing_twice(
    localnet: RunningLocalnet, bucket: PublicBucket
) -> None:
    before = newest_epoch(bucket)
    bucket.go_away()

    def told() -> bool:
        health = auditor_health(localnet)
        return "publication" in health["troubles"] and health["last_epoch"] > before

    wait_for(localnet, told)
    bucket.come_back()
    wait_for(localnet, lambda: newest_epoch(bucket) >= before + 2)
    wait_for(localnet, lambda: "publication" not in auditor_health(localnet)["troubles"])


def test_a_stranger_replays_all_epochs_from_the_public_url_to_the_bit(
    localnet: RunningLocalnet, bucket: PublicBucket, tmp_path: Path
) -> None:
    status, findings = replay(
        *(bucket.url, tmp_path, "--epoch", "all", "--network", localnet.config.chain_url),
        *("--calibration", str(SHIPPED_CALIBRATION)),
    )
    assert failing(findings) == set(), findings
    assert status == 0
    assert len(findings["epochs"]) >= 3
    held = {one["name"] for one in findings["checks"] if one["state"] == "holds"}
    assert held >= {"signature", "hash chain", "files", "records", "challenges", "openings", "verdicts"}
    assert held >= {"scores", "weights", "blocks", "anchor", "chain weights"}


def test_a_stranger_reads_the_same_from_the_gateway(localnet: RunningLocalnet, tmp_path: Path) -> None:
    status, findings = replay(f"{localnet.config.gateway_url}/v1/dataset/files", tmp_path)
    assert (status, failing(findings)) == (0, set())


def test_the_gateway_shows_a_miner_with_nothing_why(localnet: RunningLocalnet) -> None:
    rows = httpx.get(f"{localnet.config.gateway_url}/v1/scoreboard").json()
    (epoch,) = localnet.report["epochs"]
    (cheat,) = (miner["hotkey"] for miner in epoch["miners"] if miner["role"] == "int4")
    assert cheat in json.dumps(rows)
    told = httpx.get(f"{localnet.config.gateway_url}/v1/miners/{cheat}").text
    assert "fail" in told


@dataclass
class Copy:
    """A copy of the bucket that may be tampered with."""

    folder: Path
    publisher: Resealed

    @property
    def store(self) -> FolderStore:
        return self.publisher.store


@pytest.fixture
def copy(localnet: RunningLocalnet, bucket: PublicBucket, tmp_path: Path) -> Copy:
    bucket.download(tmp_path / "copy")
    store, newest = FolderStore(tmp_path / "copy"), newest_epoch(bucket)
    wallet = load_wallet(VALIDATOR, HOTKEY_NAME, localnet.config.wallets)
    return Copy(tmp_path, Resealed(store, newest - 1, newest, wallet.hotkey))


def edit_a_score(copy: Copy) -> None:
    scores = copy.publisher.summary().scores
    changed = tuple(one.model_copy(update={"score": min(1.0, one.score + 0.125)}) for one in scores)
    copy.publisher.lie(scores=changed)


def edit_a_record(copy: Copy) -> None:
    first, *others = copy.publisher.requests()
    changed = first.model_copy(update={"duration_ms": first.duration_ms / 2})
    copy.publisher.lie_about_requests([changed, *others])


def drop_a_record(copy: Copy) -> None:
    verdicts = {one.request_id for one in copy.publisher.verdicts()}
    requests = copy.publisher.requests()
    dropped = next(one for one in requests if one.request_id in verdicts)
    copy.publisher.lie_about_requests([one for one in requests if one is not dropped])


def drop_an_epoch(copy: Copy) -> None:
    (copy.folder / "copy" / summary_key(copy.publisher.newest)).unlink()


def swap_a_file(copy: Copy) -> None:
    before = Resealed(copy.store, copy.publisher.newest - 1, copy.publisher.last, copy.publisher.publisher)
    copy.store.put(copy.publisher.key("verdicts"), copy.store.get(before.key("verdicts")))


def forge_a_signature(copy: Copy) -> None:
    data = copy.store.get(summary_key(copy.publisher.last))
    signature = json.loads(data)["signature"].encode()
    copy.store.put(summary_key(copy.publisher.last), data.replace(signature, b"0x" + b"12" * 64))


def reorder_the_chain(copy: Copy) -> None:
    newest = copy.publisher.newest
    one, other = (copy.store.get(summary_key(number)) for number in (newest - 1, newest))
    copy.store.put(summary_key(newest - 1), other)
    copy.store.put(summary_key(newest), one)


def choose_a_challenge(copy: Copy) -> None:
    contents = copy.publisher.contents()
    first, *others = contents.exchanges
    replay = first.challenge.replay
    other = replay.model_copy(update={"layer": replay.layer - 1 or 2})
    challenge = first.challenge.model_copy(update={"replay": other})
    copy.publisher.lie_about_exchanges([first.model_copy(update={"challenge": challenge}), *others])


MANIPULATIONS: dict[str, tuple[Callable[[Copy], None], str]] = {
    "an edited score": (edit_a_score, "scores"),
    "an edited record": (edit_a_record, "anchor"),
    "a dropped record": (drop_a_record, "anchor"),
    "a dropped epoch": (drop_an_epoch, "hash chain"),
    "a swapped file": (swap_a_file, "files"),
    "a forged signature": (forge_a_signature, "signature"),
    "a re-ordered chain": (reorder_the_chain, "hash chain"),
    "a challenge that was not drawn": (choose_a_challenge, "challenges"),
}


@pytest.mark.parametrize("name", MANIPULATIONS)
def test_a_manipulation_is_caught_by_name(localnet: RunningLocalnet, copy: Copy, name: str) -> None:
    manipulate, check = MANIPULATIONS[name]
    manipulate(copy)
    status, findings = replay(
        *(str(copy.folder / "copy"), copy.folder, "--epoch", "all", "--network", localnet.config.chain_url)
    )
    assert status == 1
    assert check in failing(findings), findings


def test_verdicts_are_repeated_with_the_model_and_one_that_it_does_not_support_is_named(
    localnet: RunningLocalnet, copy: Copy, demo_model_folder: Path
) -> None:
    model = ("--model", str(demo_model_folder), "--calibration", str(SHIPPED_CALIBRATION))
    number = ("--epoch", str(copy.publisher.newest))
    source = str(copy.folder / "copy")
    status, findings = replay(source, copy.folder, *number, *model, "--reaudit", "2")
    assert (status, failing(findings)) == (0, set()), findings
    verdicts = copy.publisher.verdicts()
    bad = next(one for one in verdicts if one.outcome == "fail" and one.evidence)
    good = next(one for one in verdicts if one.outcome == "pass" and one.evidence)
    whitewash = {
        name: getattr(good, name)
        for name in ("outcome", "check", "reason", "evidence", "log_e", "ratios", "tokens")
    }
    points = tuple(one.model_copy(update={"distance": 0.001}) for one in bad.points)
    changed = bad.model_copy(update=whitewash | {"points": points})
    copy.publisher.lie_about_verdicts([changed if one is bad else one for one in verdicts])
    status, findings = replay(source, copy.folder, *number, *model, "--reaudit", str(len(verdicts)))
    assert status == 1
    assert "re-audit" in failing(findings), findings
    assert bad.request_id in json.dumps(findings)
