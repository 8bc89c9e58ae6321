"""What everybody may read of epochs, scores and miners; who reads too much, and what is not there."""

from pathlib import Path
from typing import Any

import httpx
import pytest

from gateway import dataset_store, epoch_store
from gateway.public_guard import READS_A_SECOND, READS_PER_MINUTE
from tests.gateway.published_gateway import audited_gateway, follow, get, publish_epochs
from tests.gateway.running_gateway import CHAT, HANG_S, keypair, running_gateway
from tests.gateway.test_receipts import post
from tests.validator.auditor_examples import many_records
from validator.epoch_tables import FORMATS

MINER = keypair("miner0")

QUESTIONS = [
    "/v1/dataset/",
    "/v1/dataset/epochs",
    "/v1/dataset/latest",
    "/v1/dataset/files/epochs/latest.json",
    "/v1/epochs",
    "/v1/epochs/1",
    "/v1/scoreboard",
    f"/v1/miners/{MINER.ss58_address}",
]


@pytest.mark.parametrize("path", QUESTIONS)
async def test_without_a_store_each_address_says_that_there_is_none(tmp_path: Path, path: str) -> None:
    async with running_gateway(tmp_path) as gateway:
        answer = await get(gateway, path)
    assert (answer.status_code, answer.json()["error"]["code"]) == (404, "no_dataset")
    assert "--store" in answer.json()["error"]["message"]


@pytest.mark.parametrize("path", QUESTIONS)
async def test_before_the_first_epoch_each_address_says_so(tmp_path: Path, path: str) -> None:
    async with audited_gateway(tmp_path) as (gateway, _):
        answer = await get(gateway, path)
    assert answer.status_code == 404
    assert answer.json()["error"]["code"] in ("nothing_published", "object_not_found")


@pytest.mark.parametrize("path", QUESTIONS)
async def test_no_key_is_needed_where_inference_needs_one(tmp_path: Path, path: str) -> None:
    async with audited_gateway(tmp_path, anonymous=False) as (gateway, rig):
        await publish_epochs(gateway, rig, 1)
        assert (await get(gateway, path)).status_code == 200
        assert (await post(gateway, CHAT)).status_code == 401


@pytest.mark.parametrize("path", QUESTIONS)
async def test_what_a_client_has_is_not_sent_again(tmp_path: Path, path: str) -> None:
    async with audited_gateway(tmp_path) as (gateway, rig):
        await publish_epochs(gateway, rig, 1)
        first = await get(gateway, path)
        again = await get(gateway, path, if_none_match=first.headers["etag"])
        assert (again.status_code, again.content) == (304, b"")
        assert first.headers["cache-control"].startswith("public, max-age=")
        assert first.headers["access-control-allow-origin"] == "*"
        await publish_epochs(gateway, rig, 1)
        if path != "/v1/epochs/1":
            assert (await get(gateway, path, if_none_match=first.headers["etag"])).status_code == 200


async def test_the_index_names_publisher_newest_epoch_and_every_table(tmp_path: Path) -> None:
    async with audited_gateway(tmp_path) as (gateway, rig):
        await publish_epochs(gateway, rig, 2)
        told = (await get(gateway, "/v1/dataset/")).json()
        for one in told["tables"]:
            newest = await get(gateway, one["newest_file"])
            assert len(newest.content) == one["size_bytes"]
    assert (told["publisher"], told["netuid"]) == (keypair("gateway").ss58_address, 97)
    assert (told["newest_epoch"]["number"], told["oldest_epoch_read"]) == (2, 1)
    assert {one["table"]: one["schema_version"] for one in told["tables"]} == {
        table: written.schema for table, written in FORMATS.items()
    }
    assert all(one["columns"] for one in told["tables"])
    assert told["text"]["store_by_default"] is True


async def test_the_index_says_what_becomes_of_text(tmp_path: Path) -> None:
    async with audited_gateway(tmp_path, store_by_default=False) as (gateway, rig):
        await publish_epochs(gateway, rig, 1)
        text = (await get(gateway, "/v1/dataset/")).json()["text"]
        assert (await get(gateway, "/")).json()["text"] == text
    assert text["store_by_default"] is False
    assert "only where they say store: true" in text["words"]


async def test_trouble_with_the_store_is_told_and_what_was_read_stays(tmp_path: Path) -> None:
    async with audited_gateway(tmp_path) as (gateway, rig):
        await publish_epochs(gateway, rig, 1)
        rig.store.put("epochs/latest.json", b"nonsense")
        follower = gateway.parts.provenance.follower
        assert follower is not None
        await follower.step()
        told = (await get(gateway, "/v1/dataset/")).json()
    assert told["trouble"] == "what is published is not believed"
    assert told["newest_epoch"]["number"] == 1


async def test_epochs_are_told_newest_first_a_page_at_a_time(tmp_path: Path) -> None:
    async with audited_gateway(tmp_path) as (gateway, rig):
        await publish_epochs(gateway, rig, 5)
        for path in ("/v1/epochs", "/v1/dataset/epochs"):
            seen, at = [], f"{path}?limit=2"
            while at:
                page = (await get(gateway, at)).json()
                seen.append([one["number"] for one in page["data"]])
                at = page["next"]
            assert seen == [[5, 4], [3, 2], [1]]


async def test_an_epoch_is_told_as_its_summary_has_it(tmp_path: Path) -> None:
    async with audited_gateway(tmp_path) as (gateway, rig):
        rig.fails(MINER.ss58_address)
        await publish_epochs(gateway, rig, 1)
        told = (await get(gateway, "/v1/epochs/1")).json()
        summary, verdicts = rig.summary(1), rig.rows("verdicts", 1)
        latest = await get(gateway, "/v1/dataset/latest")
        assert latest.content == rig.store.get("epochs/1.json")
    for name in ("publisher", "opened_at_ms", "closed_at_ms", "records", "records_root", "model", "block"):
        assert told[name] == getattr(summary, name)
    assert told["audits"] == {"pass": 0, "fail": len(verdicts), "inconclusive": 0}
    assert told["miners_that_earned"] == len(summary.weights) == 0
    assert {file["key"]: file["sha256"] for file in told["files"]} == {
        file.key: file.sha256 for file in summary.files
    }
    assert len(told["scores"]) == len(summary.scores)


async def test_the_scoreboard_has_every_score_with_weight_and_reasons(tmp_path: Path) -> None:
    async with audited_gateway(tmp_path) as (gateway, rig):
        await publish_epochs(gateway, rig, 1)
        told = (await get(gateway, "/v1/scoreboard")).json()
        summary = rig.summary(1)
    weights = {one.uid: one.weight for one in summary.weights}
    assert told["epoch"]["number"] == 1
    for shown, score in zip(told["scores"], summary.scores, strict=True):
        for name in type(score).model_fields:
            assert shown[name] == score.model_dump(mode="json")[name]
        assert score.uid is not None
        assert shown["weight"] == weights.get(score.uid, 0)
        assert shown["weight"] or shown["reasons"], "a zero says why"


async def test_a_miner_with_a_zero_sees_why(tmp_path: Path) -> None:
    async with audited_gateway(tmp_path) as (gateway, rig):
        rig.fails(MINER.ss58_address)
        await publish_epochs(gateway, rig, 2)
        told = (await get(gateway, f"/v1/miners/{MINER.ss58_address}")).json()
        verdicts = {one.request_id: one for one in rig.rows("verdicts", 2)}
    newest, before = told["data"]
    assert (newest["epoch"], before["epoch"], told["next"]) == (2, 1, None)
    assert (newest["score"], newest["weight"]) == (0, 0)
    assert newest["reasons"]
    assert {one["request_id"] for one in newest["audits"]} == set(verdicts)
    for audit in newest["audits"]:
        verdict = verdicts[audit["request_id"]]
        assert (audit["outcome"], audit["check"]) == ("fail", "sketch")
        assert audit["reason"] == verdict.reason
        assert audit["challenge_seed"] == verdict.challenge_seed
        assert audit["statistics"] == [one.model_dump() for one in verdict.evidence]
    assert newest["audits_by_outcome"]["fail"] == len(verdicts)
    assert newest["audits_left_out"] == 0


async def test_a_miners_history_is_paged(tmp_path: Path) -> None:
    async with audited_gateway(tmp_path) as (gateway, rig):
        await publish_epochs(gateway, rig, 3)
        seen, at = [], f"/v1/miners/{MINER.ss58_address}?limit=2"
        while at:
            page = (await get(gateway, at)).json()
            seen.append([one["epoch"] for one in page["data"]])
            at = page["next"]
    assert seen == [[3, 2], [1]]


async def test_a_page_ends_where_it_has_enough_audits(tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setattr(dataset_store, "MOST_AUDITS_OF_PAGE", 1)
    async with audited_gateway(tmp_path) as (gateway, rig):
        await publish_epochs(gateway, rig, 3)
        page = (await get(gateway, f"/v1/miners/{MINER.ss58_address}")).json()
    assert [one["epoch"] for one in page["data"]] == [3]
    assert page["next"].endswith("before=3&limit=20")


async def test_of_many_audits_the_failed_ones_are_kept_and_the_others_counted(
    tmp_path: Path, monkeypatch: Any
) -> None:
    monkeypatch.setattr(epoch_store, "MOST_AUDITS_OF_MINER", 2)
    async with audited_gateway(tmp_path) as (gateway, rig):
        await publish_epochs(gateway, rig, 1)
        [newest] = (await get(gateway, f"/v1/miners/{MINER.ss58_address}")).json()["data"]
    counted = sum(newest["audits_by_outcome"].values())
    assert counted > 2
    assert (len(newest["audits"]), newest["audits_left_out"]) == (2, counted - 2)


async def test_of_all_audits_so_many_are_kept_whole_epochs_the_newest(
    tmp_path: Path, monkeypatch: Any
) -> None:
    async with audited_gateway(tmp_path) as (gateway, rig):
        for first in (1000, 2000):
            await rig.publish(many_records(MINER, 1, range(first, first + 12), finished_at_ms=rig.now_ms))
        monkeypatch.setattr(epoch_store, "MOST_AUDITS", len(rig.rows("verdicts", 2)))
        await follow(gateway)
        newest, before = (await get(gateway, f"/v1/miners/{MINER.ss58_address}")).json()["data"]
    assert newest["audits"]
    assert before["audits"] == []
    assert before["audits_left_out"] == sum(before["audits_by_outcome"].values()) > 0


@pytest.mark.parametrize(
    ("path", "status", "code"),
    [
        ("/v1/epochs/99", 404, "epoch_not_found"),
        ("/v1/epochs/0", 404, "epoch_not_found"),
        ("/v1/epochs/-1", 404, "epoch_not_found"),
        ("/v1/epochs/one", 404, "epoch_not_found"),
        ("/v1/epochs/" + "9" * 400, 404, "epoch_not_found"),
        ("/v1/epochs/1e3", 404, "epoch_not_found"),
        ("/v1/epochs/%00", 404, "epoch_not_found"),
        ("/v1/miners/nobody", 404, "miner_not_found"),
        ("/v1/miners/' OR 1=1", 404, "miner_not_found"),
        (f"/v1/miners/{keypair('stranger').ss58_address}", 404, "miner_not_found"),
        ("/v1/epochs?limit=0", 400, None),
        ("/v1/epochs?limit=101", 400, None),
        ("/v1/epochs?limit=x", 400, None),
        ("/v1/epochs?before=", 400, None),
        ("/v1/epochs?before=-1", 400, None),
        ("/v1/dataset/epochs?before=" + "9" * 99, 400, None),
        (f"/v1/miners/{MINER.ss58_address}?before=x", 400, None),
        ("/v1/dataset/nothing", 404, "not_found"),
    ],
)
async def test_what_is_not_there_is_said_in_words(
    tmp_path: Path, path: str, status: int, code: str | None
) -> None:
    async with audited_gateway(tmp_path) as (gateway, rig):
        await publish_epochs(gateway, rig, 1)
        answer = await get(gateway, path)
    assert (answer.status_code, answer.json()["error"]["code"]) == (status, code)
    assert answer.json()["error"]["message"]


async def test_pages_beyond_the_last_are_empty(tmp_path: Path) -> None:
    async with audited_gateway(tmp_path) as (gateway, rig):
        await publish_epochs(gateway, rig, 1)
        for path in ("/v1/epochs", "/v1/dataset/epochs", f"/v1/miners/{MINER.ss58_address}"):
            page = (await get(gateway, f"{path}?before=1")).json()
            assert (page["data"], page["next"]) == ([], None)


@pytest.mark.parametrize("path", QUESTIONS)
async def test_only_reading_is_allowed(tmp_path: Path, path: str) -> None:
    async with audited_gateway(tmp_path) as (gateway, rig):
        await publish_epochs(gateway, rig, 1)
        for method in ("POST", "PUT", "DELETE"):
            answer = await get(gateway, path, method)
            assert (answer.status_code, answer.json()["error"]["code"]) == (405, "method_not_allowed")


async def test_an_address_that_reads_too_much_is_refused_and_is_served_its_inference(tmp_path: Path) -> None:
    async with audited_gateway(tmp_path) as (gateway, rig):
        await publish_epochs(gateway, rig, 1)
        async with httpx.AsyncClient(timeout=HANG_S, base_url=gateway.url) as client:
            for number in range(READS_PER_MINUTE):
                gateway.clock.advance(0.01 if number % 100 == 0 else 0)
                answer = await client.get("/v1/miners/x")
                if answer.status_code == 429:
                    break
            refused = await client.get("/v1/scoreboard")
            assert refused.status_code in (429, 503)
            assert (await client.post("/v1/chat/completions", json=CHAT)).status_code == 200
            gateway.clock.advance(60)
            assert (await client.get("/v1/scoreboard")).status_code == 200


async def test_readers_together_have_a_limit_a_second_and_inference_goes_on(tmp_path: Path) -> None:
    async with audited_gateway(tmp_path) as (gateway, rig):
        await publish_epochs(gateway, rig, 1)
        async with httpx.AsyncClient(timeout=HANG_S, base_url=gateway.url) as client:
            answers = [await client.get("/v1/scoreboard") for _ in range(READS_A_SECOND + 20)]
            assert [one.status_code for one in answers] == [200] * READS_A_SECOND + [503] * 20
            assert answers[-1].json()["error"]["code"] == "overloaded"
            assert (await client.post("/v1/chat/completions", json=CHAT)).status_code == 200
            gateway.clock.advance(1)
            assert (await client.get("/v1/scoreboard")).status_code == 200


async def test_an_answer_is_made_once_for_each_epoch(tmp_path: Path) -> None:
    async with audited_gateway(tmp_path) as (gateway, rig):
        await publish_epochs(gateway, rig, 1)
        dataset = gateway.parts.provenance.dataset
        assert dataset is not None
        first = (await get(gateway, "/v1/scoreboard")).content
        with gateway.parts.provenance._database.writing() as connection:
            connection.exec_driver_sql("DELETE FROM miner_scores")
        assert (await get(gateway, "/v1/scoreboard")).content == first
        await publish_epochs(gateway, rig, 1)
        assert (await get(gateway, "/v1/scoreboard")).json()["epoch"]["number"] == 2


async def test_an_index_that_can_not_be_read_is_503_and_the_gateway_goes_on(tmp_path: Path) -> None:
    async with audited_gateway(tmp_path) as (gateway, rig):
        await publish_epochs(gateway, rig, 1)
        with gateway.parts.provenance._database.writing() as connection:
            connection.exec_driver_sql("DROP TABLE miner_scores")
        answer = await get(gateway, "/v1/scoreboard")
        assert (answer.status_code, answer.json()["error"]["code"]) == (503, "dataset_unavailable")
        assert (await post(gateway, CHAT)).status_code == 200


async def test_scores_of_a_hotkey_that_left_are_told_last(tmp_path: Path) -> None:
    miners = [keypair("miner0"), keypair("miner1")]
    async with audited_gateway(tmp_path) as (gateway, rig):
        gone = many_records(miners[1], 9, range(5000, 5004), finished_at_ms=rig.now_ms)
        stayed = many_records(miners[0], 1, range(6000, 6004), finished_at_ms=rig.now_ms)
        await rig.publish([*gone, *stayed])
        await follow(gateway)
        scores = (await get(gateway, "/v1/scoreboard")).json()["scores"]
    assert scores[-1]["hotkey"] == miners[1].ss58_address
    assert (scores[-1]["uid"], scores[-1]["weight"]) == (None, 0)
    assert "no longer registered" in " ".join(scores[-1]["reasons"])


async def test_the_store_is_not_asked_for_what_was_read(tmp_path: Path) -> None:
    async with audited_gateway(tmp_path) as (gateway, rig):
        await publish_epochs(gateway, rig, 1)
        for file in rig.location.rglob("*.*"):
            file.unlink()
        for path in ("/v1/dataset/", "/v1/epochs/1", "/v1/scoreboard", f"/v1/miners/{MINER.ss58_address}"):
            assert (await get(gateway, path)).status_code == 200
