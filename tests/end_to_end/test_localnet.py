"""The whole subnet, as a user sees it: one start serves every test here, in order; the last one stops it."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import bittensor as bt
import httpx
import pytest
from openai import OpenAI

from localnet.wallets import HOTKEY_NAME, VALIDATOR
from shared.wallets import load_wallet
from tests.end_to_end.public_bucket import PublicBucket
from tests.end_to_end.running_localnet import FOLDER, RunningLocalnet, processes_mentioning, wait_for
from tests.end_to_end.strangers import failing, replay

pytestmark = pytest.mark.end_to_end

MODEL = "SmolLM2-135M-Instruct"


@pytest.fixture(scope="module")
def miners(localnet: RunningLocalnet) -> list[dict[str, Any]]:
    (epoch,) = localnet.report["epochs"]
    rows: list[dict[str, Any]] = epoch["miners"]
    return rows


def of_role(miners: list[dict[str, Any]], role: str) -> list[dict[str, Any]]:
    return [miner for miner in miners if miner["role"] == role]


def client(localnet: RunningLocalnet) -> OpenAI:
    return OpenAI(base_url=f"{localnet.config.gateway_url}/v1", api_key="none", max_retries=0)


def test_the_cheat_has_nothing_and_the_honest_miners_share_the_rest(miners: list[dict[str, Any]]) -> None:
    assert len(of_role(miners, "honest")) == 2
    (cheat,) = of_role(miners, "int4")
    assert cheat["weight_on_chain"] == 0
    assert cheat["score"] == 0
    assert all(miner["weight_on_chain"] > 0 for miner in of_role(miners, "honest"))


def test_every_miner_was_audited_and_the_cheat_failed_every_audit(miners: list[dict[str, Any]]) -> None:
    for miner in miners:
        assert sum(miner["audits"].values()) >= 5, miner
    (cheat,) = of_role(miners, "int4")
    assert cheat["audits"]["pass"] == 0
    assert cheat["audits"]["fail"] >= 5
    for honest in of_role(miners, "honest"):
        assert honest["audits"]["fail"] == 0, honest["reasons"]
        assert honest["audits"]["pass"] >= 5


def test_a_miner_with_nothing_is_told_why(miners: list[dict[str, Any]]) -> None:
    (cheat,) = of_role(miners, "int4")
    assert any("audits failed" in reason for reason in cheat["reasons"])


def test_speed_was_measured_for_every_miner(miners: list[dict[str, Any]]) -> None:
    for miner in miners:
        assert miner["requests"] > 0
        assert miner["tokens_per_s"] > 0
        assert miner["ttft_ms"] > 0


def test_both_validators_set_the_same_weights_on_the_chain(
    localnet: RunningLocalnet, miners: list[dict[str, Any]]
) -> None:
    earning = {miner["uid"] for miner in miners if miner["weight_on_chain"]}
    chain = bt.Subtensor(localnet.config.chain_url, fallback_endpoints=[], archive_endpoints=[])

    def agree() -> bool:
        """Between two epochs one of them may be ahead."""
        rows = chain.weights.weights(97)
        return rows[permitted[0]] == rows[permitted[1]] and set(rows[permitted[0]]) == earning

    try:
        permitted = [n.uid for n in chain.subnets.metagraph(97) if n.validator_permit]
        assert len(permitted) == 2
        wait_for(localnet, agree)
    finally:
        chain.close()


def test_btcli_lists_the_metagraph(localnet: RunningLocalnet, miners: list[dict[str, Any]]) -> None:
    btcli = Path(sys.executable).with_name("btcli")
    shown = subprocess.run(
        [btcli, "--json", "subnets", "metagraph", "97", "--network", localnet.config.chain_url],
        capture_output=True,
        text=True,
        env=os.environ | {"COLUMNS": "400"},
    )
    assert shown.returncode == 0, shown.stderr
    assert all(miner["hotkey"] in shown.stdout for miner in miners)


def test_the_openai_client_gets_a_streamed_answer(localnet: RunningLocalnet) -> None:
    stream = client(localnet).chat.completions.create(
        model=MODEL,
        messages=[{"role": "user", "content": "What is the capital of France?"}],
        stream=True,
        temperature=0,
        max_tokens=24,
    )
    text = "".join(chunk.choices[0].delta.content or "" for chunk in stream)
    assert "Paris" in text


def test_an_answer_names_its_miner_and_keeps_to_the_asked_length(localnet: RunningLocalnet) -> None:
    answer = client(localnet).chat.completions.with_raw_response.create(
        model=MODEL,
        messages=[{"role": "user", "content": "Name a colour."}],
        temperature=0,
        max_tokens=8,
    )
    assert int(answer.headers["x-miner-uid"]) >= 0
    parsed = answer.parse()
    assert parsed.choices[0].message.content
    assert parsed.usage is not None
    assert parsed.usage.completion_tokens <= 8


def test_a_wrong_request_is_the_clients_mistake(localnet: RunningLocalnet) -> None:
    answer = httpx.post(
        f"{localnet.config.gateway_url}/v1/chat/completions", json={"model": "no-such-model", "messages": []}
    )
    assert answer.status_code in (400, 404)
    assert answer.json()["error"]["message"]


def test_a_miner_refuses_a_stranger(localnet: RunningLocalnet) -> None:
    url = f"http://127.0.0.1:{localnet.config.miner_port}"
    assert httpx.get(f"{url}/health").status_code == 200
    body = {"model": MODEL, "messages": [{"role": "user", "content": "hi"}]}
    assert httpx.post(f"{url}/v1/chat/completions", json=body).status_code == 401
    assert httpx.post(f"{url}/hidden_state", json={"form": "open"}).status_code == 401


def test_the_auditor_shows_the_leaderboard(localnet: RunningLocalnet, miners: list[dict[str, Any]]) -> None:
    shown = httpx.get(f"{localnet.config.auditor_url}/scores").text
    assert all(miner["hotkey"] in shown for miner in miners)


def test_progress_was_told_in_words_and_apart_from_the_report(localnet: RunningLocalnet) -> None:
    progress = localnet.progress_file.read_text()
    for words in ("starting the chain node", "serves on port", "sending 36 chat requests", "curl"):
        assert words in progress


def test_weights_on_chain_that_differ_are_named(
    localnet: RunningLocalnet, bucket: PublicBucket, tmp_path: Path
) -> None:
    wallet = load_wallet(VALIDATOR, HOTKEY_NAME, localnet.config.wallets)
    chain = bt.Subtensor(localnet.config.chain_url, fallback_endpoints=[], archive_endpoints=[])
    (epoch,) = localnet.report["epochs"]
    (cheat,) = (miner["uid"] for miner in epoch["miners"] if miner["role"] == "int4")

    def set_otherwise() -> bool:
        try:
            return bool(chain.execute(bt.SetWeights(netuid=97, weights={cheat: 1.0}), wallet).success)
        except bt.BittensorError:
            return False

    try:
        wait_for(localnet, set_otherwise, 120)
    finally:
        chain.close()
    status, findings = replay(bucket.url, tmp_path, "--network", localnet.config.chain_url)
    assert status == 1
    assert failing(findings) == {"chain weights"}


def test_ctrl_c_stops_every_process(localnet: RunningLocalnet) -> None:
    assert processes_mentioning(FOLDER)
    assert localnet.interrupt() == 0
    assert processes_mentioning(FOLDER) == []
