"""The board and the rules name metrics that exist; the tables of the pages are held against the processes.

The gateway's table is held against a running gateway in tests/gateway/test_monitoring_page.py.
"""

import json
import re
from collections import Counter
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml  # type: ignore[import-untyped]
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.parser import text_string_to_metric_families

from localnet.config import PROJECT_ROOT
from miners.admission import Admission
from miners.authentication import Authentication
from miners.commitment_store import CommitmentStore
from miners.config import MinerConfig
from miners.http_messages import BodyReader
from miners.metrics import CountedRequests, MinerMetrics
from miners.metrics_port import show_metrics
from miners.receipt_issuer import MinerIdentity, ReceiptIssuer
from shared.peer_auth import RequestVerifier, sign_request
from tests.gateway.test_monitoring_page import metrics_on_the_page
from tests.miners.captures import RecordedCaptures
from tests.shared.keys import MINER, OTHER_MINER, VALIDATOR
from tests.shared.receipt_examples import example_commitment
from tests.validator.test_audit_process import Running, run_one_epoch

DOCS = PROJECT_ROOT / "docs"
PAGE = (DOCS / "DASHBOARDS.md").read_text(encoding="utf-8")
BOARD: dict[str, Any] = json.loads((DOCS / "grafana" / "constantinople.json").read_text(encoding="utf-8"))
RULES: dict[str, Any] = yaml.safe_load((DOCS / "grafana" / "alerts.yml").read_text(encoding="utf-8"))
ALL_RULES = [rule for group in RULES["groups"] for rule in group["rules"]]
PANELS = [panel for panel in BOARD["panels"] if panel["type"] != "row"]

_NAME = re.compile(r"\bconstantinople_(?:gateway|auditor|miner)_[a-z_]+")


def tables() -> dict[str, str]:
    """Name and type of every metric on the page."""
    rows = re.findall(r"^\| `(constantinople_[a-z_]+)` \| (counter|gauge) \|", PAGE, re.MULTILINE)
    return dict(rows)


def known() -> set[str]:
    """Every series that a board may ask for."""
    names = set(tables())
    for name, kind in metrics_on_the_page().items():
        full = f"constantinople_gateway_{name}"
        names |= {full + end for end in ("_bucket", "_sum", "_count")} if kind == "histogram" else {full}
    return names


def families(text: str, prefix: str) -> dict[str, str]:
    """Name and type of what is served."""
    return {
        family.name + ("_total" if family.type == "counter" else ""): family.type
        for family in text_string_to_metric_families(text)
        if family.name.startswith(prefix)
    }


def of_process(process: str) -> dict[str, str]:
    return {name: kind for name, kind in tables().items() if name.startswith(f"constantinople_{process}_")}


async def test_the_auditors_metrics_are_those_on_the_page_and_follow_what_it_does(tmp_path: Path) -> None:
    running = Running(tmp_path)
    async with running.run() as client:
        before = (await client.get("/metrics")).text
        await run_one_epoch(running, client, 1)
        after = (await client.get("/metrics")).text
    assert families(after, "constantinople_auditor_") == of_process("auditor")
    assert 'constantinople_auditor_audits_total{outcome="fail"} 0.0' in before
    values = samples(after)
    assert values["constantinople_auditor_epoch"] == 2
    assert values["constantinople_auditor_audits_total", "fail"] >= 5
    assert values["constantinople_auditor_audits_total", "pass"] >= 5
    assert values["constantinople_auditor_audits_waiting"] == 0
    assert values["constantinople_auditor_epochs_unpublished"] == 0
    assert values["constantinople_auditor_validator_permit"] == 1
    assert "process_resident_memory_bytes" in after


async def test_a_chain_that_is_down_shows_in_the_auditors_metrics(tmp_path: Path) -> None:
    running = Running(tmp_path)
    async with running.run() as client:
        running.chain.down = True
        text = ""
        while 'constantinople_auditor_trouble{subject="metagraph"} 1.0' not in text:
            text = (await client.get("/metrics")).text


def samples(text: str) -> dict[Any, float]:
    """Values by name, or by (name, label's value)."""
    found: dict[Any, float] = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            labels = tuple(sample.labels.values())
            found[(sample.name, *labels) if labels else sample.name] = sample.value
    return found


def miner_metrics(**build: str) -> MinerMetrics:
    """Of a miner that has one commitment."""
    commitments = CommitmentStore(1 << 20, 100.0, lambda: 0.0)
    commitments.add(example_commitment())
    identity = MinerIdentity(MINER.ss58_address, "tiny", 3, 8, "ab" * 32)
    issuer = ReceiptIssuer(identity, MINER, RecordedCaptures({}), commitments)
    return MinerMetrics(build, commitments, issuer, Admission([VALIDATOR.ss58_address]))


async def test_the_miners_metrics_are_those_on_the_page_and_count_strangers() -> None:
    metrics = miner_metrics(version="1", python="3", model="tiny", hotkey=MINER.ss58_address)
    metrics.troubles = lambda: {"axon": "the chain shows another"}

    async def application(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b""})

    guarded = Authentication(
        application, RequestVerifier(MINER.ss58_address), metrics.admission, BodyReader()
    )
    transport = httpx.ASGITransport(CountedRequests(guarded, metrics.requests))
    async with httpx.AsyncClient(transport=transport, base_url="http://miner") as http:
        for path, signer in (("/hidden_state", VALIDATOR), ("/hidden_state", OTHER_MINER), ("/secret", None)):
            headers = sign_request(signer, "POST", path, b"{}", MINER.ss58_address) if signer else {}
            await http.post(path, content=b"{}", headers=headers)
    registry = CollectorRegistry()
    show_metrics(metrics, None, registry)
    text = generate_latest(registry).decode()
    assert families(text, "constantinople_miner_") == of_process("miner")
    values = samples(text)
    assert values["constantinople_miner_requests_total", "/hidden_state", "200"] == 1
    assert values["constantinople_miner_requests_total", "/hidden_state", "403"] == 1
    assert values["constantinople_miner_requests_total", "other", "401"] == 1
    assert values["constantinople_miner_commitments"] == 1
    assert values["constantinople_miner_commitment_bytes"] == example_commitment().size_bytes
    assert values["constantinople_miner_trouble", "axon"] == 1


async def test_a_request_that_breaks_off_is_counted_too() -> None:
    counts: Counter[tuple[str, str]] = Counter()

    async def application(scope: Any, receive: Any, send: Any) -> None:
        raise ConnectionError

    with pytest.raises(ConnectionError):
        await CountedRequests(application, counts)({"path": "/v1/completions"}, None, None)  # type: ignore[arg-type]
    assert counts == {("/v1/completions", "none"): 1}


def test_the_miners_port_serves_its_metrics_on_this_machine_and_a_taken_one_is_no_end(
    caplog: pytest.LogCaptureFixture,
) -> None:
    port = show_metrics(miner_metrics(), 0, CollectorRegistry())
    assert port
    assert "constantinople_miner_commitments 1.0" in httpx.get(f"http://127.0.0.1:{port}/metrics").text
    assert show_metrics(miner_metrics(), port, CollectorRegistry()) is None
    assert "choose another --metrics-port" in caplog.text
    assert MinerConfig().metrics_port is None


@pytest.mark.parametrize("panel", PANELS, ids=lambda panel: str(panel["title"]))
def test_every_panel_asks_for_metrics_that_exist(panel: dict[str, Any]) -> None:
    assert panel["targets"]
    for target in panel["targets"]:
        names = set(_NAME.findall(target["expr"]))
        assert names
        assert names <= known()
        assert target["expr"].count("(") == target["expr"].count(")")
        assert target["datasource"] == {"type": "prometheus", "uid": "${datasource}"}


def test_the_board_is_one_that_grafana_imports() -> None:
    assert BOARD["schemaVersion"] >= 38
    assert {"uid", "title", "panels", "templating", "time"} <= BOARD.keys()
    ids = [panel["id"] for panel in BOARD["panels"]]
    assert len(set(ids)) == len(ids)
    assert "id" not in BOARD
    taken: set[tuple[int, int]] = set()
    for panel in BOARD["panels"]:
        place = panel["gridPos"]
        assert place["x"] + place["w"] <= 24
        cells = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert not cells & taken
        taken |= cells
    assert {one["name"] for one in BOARD["templating"]["list"]} == {"datasource", "instance"}


def test_every_metric_of_the_auditor_and_the_miner_is_on_the_board_or_in_a_rule() -> None:
    used = set(_NAME.findall(json.dumps(BOARD))) | set(_NAME.findall(json.dumps(RULES)))
    beside = {
        *("constantinople_auditor_build_info", "constantinople_miner_build_info"),
        *("constantinople_auditor_chain_block", "constantinople_miner_commitments"),
        "constantinople_miner_admitted_validators",
    }
    assert set(tables()) - beside <= used


@pytest.mark.parametrize("rule", ALL_RULES, ids=lambda rule: str(rule["alert"]))
def test_every_rule_asks_for_metrics_that_exist_and_names_a_runbook(rule: dict[str, Any]) -> None:
    names = set(_NAME.findall(rule["expr"]))
    assert names
    assert names <= known()
    assert rule["expr"].count("(") == rule["expr"].count(")")
    assert rule["labels"]["severity"] in {"page", "ticket"}
    assert rule["annotations"]["summary"]
    headings = re.findall(r"^## (.+)$", (DOCS / "RUNBOOKS.md").read_text(encoding="utf-8"), re.MULTILINE)
    anchors = {re.sub(r"[^a-z0-9 -]", "", heading.lower()).replace(" ", "-") for heading in headings}
    assert rule["annotations"]["runbook"] in anchors


def test_a_metric_that_does_not_exist_would_be_noticed() -> None:
    assert set(_NAME.findall("rate(constantinople_miner_no_such_total[5m])")) - known()
